// What a convolution is of: NHWC by HWIO.

#pragma once

#include <algorithm>
#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// One axis: the image's pixels, the kernel's side, the windows, their stride, the padding before.
struct Axis {
  int64_t pixels, side, windows, stride, low;
  int64_t reach() const { return (windows - 1) * stride + side; }
};

// One of a batch's, and others behind it.
struct Image {
  const float* data;
  int64_t height, width, channels;
  int64_t size() const { return height * width * channels; }
  Image number(int64_t n) const { return {data + n * size(), height, width, channels}; }
  const float* at(int64_t y, int64_t x) const { return data + (y * width + x) * channels; }
};

struct Shape {
  int64_t batch, channels, features;
  Axis h, w;
  Image inputs(const float* x) const { return {x, h.pixels, w.pixels, channels}; }
  Image outputs(const float* y) const { return {y, h.windows, w.windows, features}; }
  int64_t image() const { return h.pixels * w.pixels * channels; }
  int64_t out() const { return h.windows * w.windows * features; }
  int64_t kernel() const { return h.side * w.side * channels * features; }
  int64_t row() const { return w.side * channels; }  // of the kernel
};

Shape shape_of(ffi::Span<const int64_t> x, ffi::Span<const int64_t> k, ffi::Span<const int64_t> y,
               ffi::Span<const int64_t> strides, ffi::Span<const int64_t> low) {
  return {x[0], k[2], k[3], {x[1], k[0], y[1], strides[0], low[0]},
          {x[2], k[1], y[2], strides[1], low[1]}};
}

// So many rows and columns of an image, from (top, left) on, zeros where it has none; the image
// itself where that is all of it.
const float* window(const Image& image, int64_t top, int64_t left, int64_t rows, int64_t columns,
                    float* to) {
  if (!top && !left && rows == image.height && columns == image.width) return image.data;
  int64_t begin = std::clamp<int64_t>(-left, 0, columns);
  int64_t end = std::clamp<int64_t>(image.width - left, begin, columns);
  for (int64_t r = 0; r < rows; ++r) {
    float* line = to + r * columns * image.channels;
    const float* from = image.at(r + top, left);
    bool inside = 0 <= r + top && r + top < image.height;
    int64_t first = inside ? begin * image.channels : 0, last = inside ? end * image.channels : 0;
    std::fill(line, line + first, 0.f);
    std::copy(from + first, from + last, line + first);
    std::fill(line + last, line + columns * image.channels, 0.f);
  }
  return to;
}

}  // namespace

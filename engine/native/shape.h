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

struct Shape {
  int64_t batch, channels, features;
  Axis h, w;
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

// Rows `first` to `first + rows` and columns likewise of an image, zeros where it has none; the
// image itself where that is all of it.
const float* window(const float* image, int64_t height, int64_t width, int64_t channels,
                    int64_t top, int64_t left, int64_t rows, int64_t columns, float* to) {
  if (!top && !left && rows == height && columns == width) return image;
  int64_t begin = std::clamp<int64_t>(-left, 0, columns);
  int64_t end = std::clamp<int64_t>(width - left, begin, columns);
  for (int64_t r = 0; r < rows; ++r) {
    float* line = to + r * columns * channels;
    const float* from = image + ((r + top) * width + left) * channels;
    bool inside = 0 <= r + top && r + top < height;
    int64_t first = inside ? begin * channels : 0, last = inside ? end * channels : 0;
    std::fill(line, line + first, 0.f);
    std::copy(from + first, from + last, line + first);
    std::fill(line + last, line + columns * channels, 0.f);
  }
  return to;
}

}  // namespace

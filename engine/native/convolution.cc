// Convolutions of two axes in float32, NHWC by HWIO: the value and both gradients.
//
// Where winograd.h doesn't compute it: a row of the kernel lies under a row of the image as
// consecutive numbers, kernel's columns times channels, so each is a matrix product whose rows
// overlap, and no patches are copied. Which sums are made, and in which order, depends on shapes
// alone, never on the threads: equal input has equal bits.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "product.h"
#include "shape.h"
#include "winograd.h"

namespace {

constexpr int64_t kParts = 16;              // of a batch, whose gradients are added up
constexpr int64_t kPartsOfMany = 4;         // of a batch, where panels are shared too
constexpr int64_t kManyPanels = 8;          // of features, which are shared among threads then
constexpr int64_t kBytesAtOnce = 16 << 10;  // of an image, so that it stays in the first cache

// How work is cut: parts of a batch, and groups of panels. A large kernel stays in the cache if a
// thread goes through several images with one panel of it.
struct Cut {
  int64_t parts, groups, batch, panels;
  Cut(int64_t batch, int64_t panels, int64_t most, int64_t of_many)
      : parts(std::min(batch, panels < kManyPanels ? most : of_many)),
        groups(panels < kManyPanels ? 1 : panels), batch(batch), panels(panels) {}
  int64_t count() const { return parts * groups; }
  int64_t image(int64_t part) const { return batch * part / parts; }
  int64_t panel(int64_t group) const { return panels * group / groups; }
};

ffi::Error Value(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> k,
                 ffi::Span<const int64_t> strides, ffi::Span<const int64_t> low,
                 ffi::ResultBuffer<ffi::F32> y) {
  Shape s = shape_of(x.dimensions(), k.dimensions(), y->dimensions(), strides, low);
  const float* weights = k.typed_data();
  if (by_winograd(s)) {
    winograd(pool, s, x.typed_data(), weights, y->typed_data());
    return ffi::Error::Success();
  }
  Image images = s.inputs(x.typed_data());
  int64_t vectors = vectors_for(s.features), panel = vectors * kLanes;
  int64_t sums = s.h.side * s.row(), panels = ceiling(s.features, panel);
  std::unique_ptr<float[]> packed(new float[panels * panel * sums]);
  pack(sums, s.features, 1, panel, packed.get(),
       [&](int64_t row) { return weights + row * s.features; });
  int64_t pitch = s.w.reach() * s.channels;
  Cut cut(s.batch, panels, s.batch, kPartsOfMany);
  parallel(pool, cut.count(), [&](int64_t task) {
    thread_local std::vector<float> kept;
    int64_t part = task / cut.groups, group = task % cut.groups;
    for (int64_t n = cut.image(part); n < cut.image(part + 1); ++n) {
      const float* image = window(images.number(n), -s.h.low, -s.w.low, s.h.reach(), s.w.reach(),
                                  scratch(kept, s.h.reach() * pitch));
      for (int64_t p = cut.panel(group); p < cut.panel(group + 1); ++p)
        for (int64_t row = 0; row < s.h.windows; ++row)
          product({image + row * s.h.stride * pitch, s.w.stride * s.channels, pitch, 1, s.h.side,
                   s.row()},
                  s.w.windows, vectors, packed.get() + p * panel * sums,
                  y->typed_data() + n * s.out() + row * s.w.windows * s.features + p * panel,
                  s.features, std::min(panel, s.features - p * panel), false);
    }
  });
  return ffi::Error::Success();
}

// Pixels of an axis whose windows hold them at the same places of the kernel, every stride-th.
struct Phase {
  int64_t place, first, count, taps, window;  // first pixel, first window that holds it
  Phase(const Axis& a, int64_t place) : place(place) {
    int64_t begin = ceiling(a.low - place, a.stride);
    first = begin * a.stride + place - a.low;
    count = first < a.pixels ? ceiling(a.pixels - first, a.stride) : 0;
    taps = place < a.side ? ceiling(a.side - place, a.stride) : 0;
    window = begin - taps + 1;
  }
};

ffi::Error ByImage(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> dy, ffi::Buffer<ffi::F32> k,
                   ffi::Span<const int64_t> strides, ffi::Span<const int64_t> low,
                   ffi::ResultBuffer<ffi::F32> dx) {
  Shape s = shape_of(dx->dimensions(), k.dimensions(), dy.dimensions(), strides, low);
  const float* weights = k.typed_data();
  if (by_winograd(s)) {
    winograd_by_image(pool, s, dy.typed_data(), weights, dx->typed_data());
    return ffi::Error::Success();
  }
  Image images = s.outputs(dy.typed_data());
  int64_t vectors = vectors_for(s.channels), panel = vectors * kLanes;
  int64_t panels = ceiling(s.channels, panel);
  struct Part {
    Phase h, w;
    std::unique_ptr<float[]> packed;
  };
  std::vector<Part> parts;
  int64_t top = 0, left = 0, bottom = s.h.windows, right = s.w.windows;
  for (int64_t i = 0; i < s.h.stride; ++i)
    for (int64_t j = 0; j < s.w.stride; ++j) {
      Part part{Phase(s.h, i), Phase(s.w, j), {}};
      if (!part.h.count || !part.w.count) continue;
      int64_t line = part.w.taps * s.features, sums = part.h.taps * line;
      part.packed.reset(new float[panels * panel * sums]);
      pack(sums, s.channels, s.features, panel, part.packed.get(), [&](int64_t row) {
        int64_t u = row / line, v = row % line / s.features, f = row % s.features;
        int64_t a = i + s.h.stride * (part.h.taps - 1 - u);
        int64_t b = j + s.w.stride * (part.w.taps - 1 - v);
        return weights + (a * s.w.side + b) * s.channels * s.features + f;
      });
      top = std::min(top, part.h.window);
      left = std::min(left, part.w.window);
      bottom = std::max(bottom, part.h.window + part.h.taps + part.h.count - 1);
      right = std::max(right, part.w.window + part.w.taps + part.w.count - 1);
      parts.push_back(std::move(part));
    }
  int64_t pitch = (right - left) * s.features;
  Cut cut(s.batch, panels, s.batch, kPartsOfMany);
  parallel(pool, cut.count(), [&](int64_t task) {
    thread_local std::vector<float> kept;
    int64_t group = task % cut.groups, some = task / cut.groups;
    for (int64_t n = cut.image(some); n < cut.image(some + 1); ++n) {
      const float* image = window(images.number(n), top, left, bottom - top, right - left,
                                  scratch(kept, (bottom - top) * pitch));
      for (const Part& part : parts)
        for (int64_t p = cut.panel(group); p < cut.panel(group + 1); ++p)
          for (int64_t row = 0; row < part.h.count; ++row) {
            const float* at = image + (part.h.window + row - top) * pitch +
                              (part.w.window - left) * s.features;
            int64_t to = (part.h.first + row * s.h.stride) * s.w.pixels + part.w.first;
            int64_t sums = part.w.taps * s.features;
            product({at, s.features, pitch, 1, part.h.taps, sums}, part.w.count, vectors,
                    part.packed.get() + p * panel * part.h.taps * sums,
                    dx->typed_data() + n * s.image() + to * s.channels + p * panel,
                    s.w.stride * s.channels, std::min(panel, s.channels - p * panel), false);
          }
    }
  });
  return ffi::Error::Success();
}

ffi::Error ByKernel(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> dy,
                    ffi::Span<const int64_t> strides, ffi::Span<const int64_t> low,
                    ffi::ResultBuffer<ffi::F32> dk) {
  Shape s = shape_of(x.dimensions(), dk->dimensions(), dy.dimensions(), strides, low);
  if (by_winograd(s)) {
    winograd_by_kernel(pool, s, x.typed_data(), dy.typed_data(), dk->typed_data());
    return ffi::Error::Success();
  }
  Image images = s.inputs(x.typed_data());
  int64_t vectors = vectors_for(s.features), panel = vectors * kLanes;
  int64_t panels = ceiling(s.features, panel), positions = s.h.windows * s.w.windows;
  int64_t pitch = s.w.reach() * s.channels;
  int64_t at_once = std::max<int64_t>(1, kBytesAtOnce / (4 * s.h.stride * pitch));
  Cut cut(s.batch, panels, kParts, 1);
  std::unique_ptr<float[]> found(new float[cut.parts * s.kernel()]);
  parallel(pool, cut.count(), [&](int64_t task) {
    thread_local std::vector<float> kept, kept_dy;
    int64_t part = task / cut.groups, group = task % cut.groups;
    int64_t begin = cut.panel(group), end = cut.panel(group + 1);
    float* packed = scratch(kept_dy, (end - begin) * panel * positions);
    for (int64_t n = cut.image(part); n < cut.image(part + 1); ++n) {
      const float* image = window(images.number(n), -s.h.low, -s.w.low, s.h.reach(), s.w.reach(),
                                  scratch(kept, s.h.reach() * pitch));
      const float* outs = dy.typed_data() + n * s.out() + begin * panel;
      pack(positions, std::min(s.features, end * panel) - begin * panel, 1, panel, packed,
           [&](int64_t row) { return outs + row * s.features; });
      for (int64_t row = 0; row < s.h.windows; row += at_once)
        for (int64_t p = begin; p < end; ++p)
          for (int64_t i = 0; i < s.h.side; ++i)
            product({image + (row * s.h.stride + i) * pitch, 1, s.h.stride * pitch,
                     s.w.stride * s.channels, std::min(at_once, s.h.windows - row), s.w.windows},
                    s.row(), vectors,
                    packed + ((p - begin) * positions + row * s.w.windows) * panel,
                    found.get() + part * s.kernel() + i * s.row() * s.features + p * panel,
                    s.features, std::min(panel, s.features - p * panel),
                    row > 0 || n > cut.image(part));
    }
  });
  parallel(pool, s.h.side, [&](int64_t i) {
    int64_t size = s.row() * s.features;
    float* sums = dk->typed_data() + i * size;
    std::copy(found.get() + i * size, found.get() + (i + 1) * size, sums);
    for (int64_t part = 1; part < cut.parts; ++part)
      for (int64_t at = 0; at < size; ++at)
        sums[at] += found[part * s.kernel() + i * size + at];
  });
  return ffi::Error::Success();
}

#define BOUND                                   \
  ffi::Ffi::Bind()                              \
      .Ctx<ffi::ThreadPool>()                   \
      .Arg<ffi::Buffer<ffi::F32>>()             \
      .Arg<ffi::Buffer<ffi::F32>>()             \
      .Attr<ffi::Span<const int64_t>>("strides") \
      .Attr<ffi::Span<const int64_t>>("low")    \
      .Ret<ffi::Buffer<ffi::F32>>()

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(Convolution, Value, BOUND);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ConvolutionByImage, ByImage, BOUND);
XLA_FFI_DEFINE_HANDLER_SYMBOL(ConvolutionByKernel, ByKernel, BOUND);

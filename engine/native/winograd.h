// Convolutions of 3 × 3, every window, by Winograd's F(2 × 2, 3 × 3) (Lavin and Gray, 2015,
// arXiv:1509.09308): two by two results of a patch of four by four in 16 products rather than 36.
//
// Patch and kernel are spread into 16 places each, multiplied place by place, summed over channels,
// and gathered into the tile of results. All of it is linear, so the gradient by the kernel is the
// same products with the transposed transforms.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "product.h"
#include "shape.h"

namespace {

constexpr int64_t kPlaces = 16;
constexpr int64_t kApart = 16;              // numbers between places, so that caches hold them all
constexpr int64_t kAtOnce = 1 << 13;        // tiles at once, times channels and features
constexpr int64_t kTiles = 32;              // at once, at the least
constexpr int64_t kTilesByKernel = 96;      // likewise, as all sums are read and written each time
constexpr int64_t kFewTiles = 64;           // for which spreading the kernel doesn't pay
constexpr int64_t kWideRow = 1 << 15;       // numbers of a row of tiles: 16 times that is 2 MiB
constexpr int64_t kBytesOfParts = 2 << 20;  // of kernels' gradients that are added up

bool by_winograd(const Shape& s) {
  auto suits = [](const Axis& a) { return a.side == 3 && a.stride == 1 && a.windows > 1; };
  int64_t wide = ceiling(s.w.windows, 2), tiles = s.batch * ceiling(s.h.windows, 2) * wide;
  return suits(s.h) && suits(s.w) && s.channels % 16 == 0 && s.features % 16 == 0 &&
         tiles >= kFewTiles && wide * (s.channels + s.features) <= kWideRow;
}

template <size_t N>
using Line = std::array<Vector, N>;

// Along one axis: a patch, a kernel and a tile's gradient are spread; a tile and a kernel's gradient
// are gathered.
Line<4> spread(const Line<4>& x) { return {x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]}; }
Line<4> spread(const Line<3>& k) {
  Vector ends = .5f * (k[0] + k[2]), middle = .5f * k[1];
  return {k[0], ends + middle, ends - middle, k[2]};
}
Line<4> spread(const Line<2>& y) { return {y[0], y[0] + y[1], y[0] - y[1], -y[1]}; }
Line<2> tile_of_places(const Line<4>& m) { return {m[0] + m[1] + m[2], m[1] - m[2] - m[3]}; }
Line<3> kernel_of_places(const Line<4>& m) {
  Vector both = .5f * (m[1] + m[2]);
  return {m[0] + both, .5f * (m[1] - m[2]), both + m[3]};
}

// A transform along both axes of N by N vectors, at from(row, column), to those at to(row, column).
template <size_t N, typename Transform, typename From, typename To>
[[gnu::always_inline]] inline void along_both(Transform transform, From from, To to) {
  constexpr size_t M = std::tuple_size_v<decltype(transform(Line<N>()))>;
  std::array<Line<N>, M> half;
  for (size_t column = 0; column < N; ++column) {
    Line<N> line;
    for (size_t row = 0; row < N; ++row) line[row] = *(const Unaligned*)from(row, column);
    auto made = transform(line);
    for (size_t row = 0; row < M; ++row) half[row][column] = made[row];
  }
  for (size_t row = 0; row < M; ++row) {
    auto made = transform(half[row]);
    for (size_t column = 0; column < M; ++column) *(Unaligned*)to(row, column) = made[column];
  }
}

// Rows of tiles, of all images one after the other, and how many are computed at once.
struct Rows {
  int64_t high, wide, count, at_once;
  Rows(const Shape& s, int64_t least)
      : high(ceiling(s.h.windows, 2)), wide(ceiling(s.w.windows, 2)), count(s.batch * high),
        at_once(ceiling(std::max(least, kAtOnce / (s.channels + s.features)), wide)) {}
};

// The tiles of rows `begin` to `end`, patches of N by N pixels from (top, left) on: the numbers of a
// place, tile after tile.
template <size_t N>
void spread_tiles(const Rows& rows, int64_t begin, int64_t end, const Image& images, int64_t top,
                  int64_t left, float* spare, float* places, int64_t apart) {
  int64_t side = N, channels = images.channels;
  for (int64_t row = begin; row < end; ++row) {
    Image image = images.number(row / rows.high);
    int64_t y = row % rows.high * 2 + top;
    for (int64_t x = left; x < 2 * rows.wide + left; x += 2, places += channels) {
      bool inside = y >= 0 && x >= 0 && y + side <= image.height && x + side <= image.width;
      const float* patch = inside ? image.at(y, x) : window(image, y, x, side, side, spare);
      int64_t pitch = (inside ? image.width : side) * channels;
      for (int64_t c = 0; c < channels; c += kLanes)
        along_both<N>([](const Line<N>& line) { return spread(line); },
                      [&](int64_t i, int64_t j) { return patch + i * pitch + j * channels + c; },
                      [&](int64_t i, int64_t j) { return places + (4 * i + j) * apart + c; });
    }
  }
}

// A kernel's places, each as panels of its columns.
std::unique_ptr<float[]> spread_kernel(ffi::ThreadPool& pool, const float* kernel, int64_t rows,
                                       int64_t columns, int64_t panel) {
  int64_t apart = ceiling(columns, panel) * panel * rows, size = rows * columns;
  std::unique_ptr<float[]> places(new float[kPlaces * apart]);
  if (columns % panel) std::fill(places.get(), places.get() + kPlaces * apart, 0.f);
  parallel(pool, rows, [&](int64_t row) {
    for (int64_t column = 0; column < columns; column += kLanes) {
      const float* from = kernel + row * columns + column;
      float* to = places.get() + (column / panel * rows + row) * panel + column % panel;
      along_both<3>([](const Line<3>& line) { return spread(line); },
                    [&](int64_t i, int64_t j) { return from + (3 * i + j) * size; },
                    [&](int64_t i, int64_t j) { return to + (4 * i + j) * apart; });
    }
  });
  return places;
}

void winograd(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* k, float* y) {
  Rows rows(s, kTiles);
  int64_t vectors = vectors_for(s.features), panel = vectors * kLanes;
  int64_t panels = ceiling(s.features, panel), pitch = s.w.windows * s.features;
  auto kernel = spread_kernel(pool, k, s.channels, s.features, panel);
  parallel(pool, ceiling(rows.count, rows.at_once), [&](int64_t task) {
    thread_local std::vector<float> kept, kept_x, kept_y;
    int64_t begin = task * rows.at_once, end = std::min(rows.count, begin + rows.at_once);
    int64_t tiles = (end - begin) * rows.wide;
    int64_t apart_x = tiles * s.channels + kApart, apart_y = tiles * s.features + kApart;
    float* spare = scratch(kept, 16 * std::max(s.channels, s.features));
    float* patches = scratch(kept_x, kPlaces * apart_x);
    float* products = scratch(kept_y, kPlaces * apart_y);
    spread_tiles<4>(rows, begin, end, s.inputs(x), -s.h.low, -s.w.low, spare, patches, apart_x);
    for (int64_t place = 0; place < kPlaces; ++place)
      for (int64_t p = 0; p < panels; ++p)
        product({patches + place * apart_x, s.channels, 0, 1, 1, s.channels}, tiles, vectors,
                kernel.get() + (place * panels + p) * panel * s.channels,
                products + place * apart_y + p * panel, s.features,
                std::min(panel, s.features - p * panel), false);
    for (int64_t row = begin; row < end; ++row)
      for (int64_t t = 0; t < rows.wide; ++t, products += s.features) {
        int64_t top = row % rows.high * 2, left = t * 2;
        float* out = y + row / rows.high * s.out() + top * pitch + left * s.features;
        for (int64_t f = 0; f < s.features; f += kLanes)
          along_both<4>(tile_of_places,
                        [&](int64_t i, int64_t j) { return products + (4 * i + j) * apart_y + f; },
                        [&](int64_t i, int64_t j) {
                          bool there = top + i < s.h.windows && left + j < s.w.windows;
                          return there ? out + i * pitch + j * s.features + f : spare;
                        });
      }
  });
}

void winograd_by_image(ffi::ThreadPool& pool, const Shape& s, const float* dy, const float* k,
                       float* dx) {
  int64_t size = s.channels * s.features;
  std::unique_ptr<float[]> turned(new float[9 * size]);
  parallel(pool, 9, [&](int64_t place) {
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t f = 0; f < s.features; ++f)
        turned[place * size + f * s.channels + c] = k[(8 - place) * size + c * s.features + f];
  });
  auto back = [](const Axis& a) { return Axis{a.windows, 3, a.pixels, 1, 2 - a.low}; };
  winograd(pool, {s.batch, s.features, s.channels, back(s.h), back(s.w)}, dy, turned.get(), dx);
}

void winograd_by_kernel(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* dy,
                        float* dk) {
  Rows rows(s, kTilesByKernel);
  int64_t vectors = vectors_for(s.features), panel = vectors * kLanes;
  int64_t size = s.channels * s.features;
  int64_t parts = std::clamp<int64_t>(kBytesOfParts / (4 * kPlaces * size), 2, 16);
  parts = std::min(parts, ceiling(rows.count, rows.at_once));
  std::unique_ptr<float[]> found(new float[parts * kPlaces * size]);
  parallel(pool, parts, [&](int64_t part) {
    thread_local std::vector<float> kept, kept_x, kept_y, kept_panel;
    int64_t most = rows.at_once * rows.wide;
    int64_t apart_x = most * s.channels + kApart, apart_y = most * s.features + kApart;
    float* spare = scratch(kept, 16 * std::max(s.channels, s.features));
    float* patches = scratch(kept_x, kPlaces * apart_x);
    float* outs = scratch(kept_y, kPlaces * apart_y);
    float* packed = scratch(kept_panel, most * panel);
    int64_t first = rows.count * part / parts, last = rows.count * (part + 1) / parts;
    for (int64_t begin = first; begin < last; begin += rows.at_once) {
      int64_t end = std::min(last, begin + rows.at_once), tiles = (end - begin) * rows.wide;
      spread_tiles<4>(rows, begin, end, s.inputs(x), -s.h.low, -s.w.low, spare, patches, apart_x);
      spread_tiles<2>(rows, begin, end, s.outputs(dy), 0, 0, spare, outs, apart_y);
      for (int64_t place = 0; place < kPlaces; ++place)
        for (int64_t f = 0; f < s.features; f += panel) {
          int64_t width = std::min(panel, s.features - f);
          const float* from = outs + place * apart_y + f;
          pack(tiles, width, 1, panel, packed,
               [&](int64_t tile) { return from + tile * s.features; });
          product({patches + place * apart_x, 1, 0, s.channels, 1, tiles}, s.channels, vectors,
                  packed, found.get() + (part * kPlaces + place) * size + f, s.features, width,
                  begin > first);
        }
    }
  });
  parallel(pool, s.channels, [&](int64_t c) {
    for (int64_t at = c * s.features; at < (c + 1) * s.features; at += kLanes) {
      Vector sums[kPlaces] = {};
      for (int64_t part = 0; part < parts; ++part)
        for (int64_t place = 0; place < kPlaces; ++place)
          sums[place] += *(const Unaligned*)(found.get() + (part * kPlaces + place) * size + at);
      along_both<4>(kernel_of_places,
                    [&](int64_t i, int64_t j) { return (const float*)&sums[4 * i + j]; },
                    [&](int64_t i, int64_t j) { return dk + (3 * i + j) * size + at; });
    }
  });
}

}  // namespace

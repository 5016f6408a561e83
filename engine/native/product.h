// A matrix product whose left rows may overlap, a tile of it in registers, and XLA's threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif
constexpr int64_t kRowsOfTile[] = {0, std::min(14, kRegisters - 2), (kRegisters - 4) / 2};

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4)));

int64_t ceiling(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// A matrix product's left side: where its rows and columns lie. The columns are `outer` times
// `inner`, so far apart each.
struct Left {
  const float* at;
  int64_t row, outer_step, inner_step, outer, inner;
};

// c[m, :width] = (c[m, :width] +) left[m, :] · b, whose rows are V vectors, one after the other.
template <int M, int V>
void tile(Left left, const float* b, float* c, int64_t c_row, int64_t width, bool add) {
  constexpr int kRowsOfBase = 5, kBases = (M + kRowsOfBase - 1) / kRowsOfBase;
  Vector sums[M][V] = {};
  for (int64_t outer = 0; outer < left.outer; ++outer) {
    const float* a[kBases];
    for (int i = 0; i < kBases; ++i) {
      a[i] = left.at + outer * left.outer_step + i * kRowsOfBase * left.row;
      asm("" : "+r"(a[i]));  // or it is reckoned from the first again
    }
    for (int64_t inner = 0; inner < left.inner; ++inner) {
      Vector weights[V];
      for (int v = 0; v < V; ++v, b += kLanes) weights[v] = *(const Unaligned*)b;
      for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v)
          sums[m][v] += a[m / kRowsOfBase][m % kRowsOfBase * left.row] * weights[v];
      for (int i = 0; i < kBases; ++i) a[i] += left.inner_step;
    }
  }
  for (int m = 0; m < M; ++m, c += c_row) {
    if (width == V * kLanes) {
      for (int v = 0; v < V; ++v) {
        Unaligned* to = (Unaligned*)(c + v * kLanes);
        *to = add ? *to + sums[m][v] : sums[m][v];
      }
    } else {
      float found[V * kLanes];
      std::memcpy(found, sums[m], sizeof found);
      for (int64_t f = 0; f < width; ++f) c[f] = add ? c[f] + found[f] : found[f];
    }
  }
}

using Tile = void (*)(Left, const float*, float*, int64_t, int64_t, bool);

template <int V, size_t... M>
Tile tile_of(int64_t rows, std::index_sequence<M...>) {
  static constexpr Tile tiles[] = {tile<M + 1, V>...};
  return tiles[rows - 1];
}

Tile tile_of(int64_t rows, int64_t vectors) {
  return vectors == 1 ? tile_of<1>(rows, std::make_index_sequence<kRowsOfTile[1]>())
                      : tile_of<2>(rows, std::make_index_sequence<kRowsOfTile[2]>());
}

// c = left · b for any number of rows, in tiles as equal as can be.
void product(Left left, int64_t rows, int64_t vectors, const float* b, float* c, int64_t c_row,
             int64_t width, bool add) {
  int64_t count = ceiling(rows, kRowsOfTile[vectors]), each = rows / count, more = rows % count;
  for (int64_t i = 0; i < count; ++i) {
    int64_t some = each + (i < more);
    tile_of(some, vectors)(left, b, c, c_row, width, add);
    left.at += some * left.row;
    c += some * c_row;
  }
}

// body(i) for i < count, by this thread and by those of XLA's that are free. This one waits for
// what others have begun, never for what is still to begin: so it can't wait for itself.
template <typename Body>
void parallel(ffi::ThreadPool& pool, int64_t count, Body body) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto shared = std::make_shared<Shared>();
  auto work = [shared, count, &body] {
    for (int64_t i; (i = shared->next.fetch_add(1)) < count;) {
      body(i);
      if (shared->done.fetch_add(1) + 1 == count) shared->done.notify_one();
    }
  };
  int64_t others = std::min(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < others; ++i) pool.Schedule(decltype(work)(work));
  work();
  for (int64_t done; (done = shared->done.load()) < count;) shared->done.wait(done);
}

float* scratch(std::vector<float>& kept, int64_t size) {
  if ((int64_t)kept.size() < size) kept.resize(size);
  return kept.data();
}

int64_t vectors_for(int64_t columns) { return columns > kLanes ? 2 : 1; }

// A matrix, whose columns are so far apart, as panels of so many columns, one panel after the
// other, zeros at the end; at(row) is where a row begins.
template <typename At>
void pack(int64_t rows, int64_t columns, int64_t apart, int64_t panel, float* to, At at) {
  for (int64_t first = 0; first < columns; first += panel) {
    int64_t width = std::min(panel, columns - first);
    for (int64_t row = 0; row < rows; ++row, to += panel) {
      const float* from = at(row) + first * apart;
      if (apart == 1)
        std::copy(from, from + width, to);
      else
        for (int64_t c = 0; c < width; ++c) to[c] = from[c * apart];
      std::fill(to + width, to + panel, 0.f);
    }
  }
}

}  // namespace

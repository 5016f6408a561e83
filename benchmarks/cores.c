/* How far two cores are from each other: the time a word takes from one to the other.

   cc -O2 -pthread benchmarks/cores.c -o cores && ./cores */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 200000 };
static _Alignas(128) atomic_int word;

static void stay_on(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *answer(void *unused) {
    stay_on(1);
    for (int i = 0; i < ROUNDS; i++) {
        while (atomic_load(&word) != 2 * i + 1) {}
        atomic_store(&word, 2 * i + 2);
    }
    return unused;
}

int main(void) {
    pthread_t other;
    struct timespec began, ended;
    stay_on(0);
    pthread_create(&other, NULL, answer, NULL);
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store(&word, 2 * i + 1);
        while (atomic_load(&word) != 2 * i + 2) {}
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    pthread_join(other, NULL);
    double ns = (ended.tv_sec - began.tv_sec) * 1e9 + (ended.tv_nsec - began.tv_nsec);
    printf("%.0f ns from one core to the other\n", ns / ROUNDS / 2);
}

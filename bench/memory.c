/* What memory costs on this machine now, in nanoseconds: reads of which each depends on the one before, all over 1 MB and
 * over 8 MB. Neighbours of a virtual machine share its last cache: where they take it, 8 MB are as far away as main memory.
 *
 * Prints one JSON object, {"1 MB": …, "8 MB": …}. Takes about a second.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LINE = 64, READS = 2000000 };

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

/* One ring through all lines of `size` bytes, in an order that no processor guesses. */
static void **ring(size_t size) {
    size_t lines = size / LINE, *order = malloc(lines * sizeof *order);
    char *memory = malloc(size);
    uint64_t random = 88172645463325252u;
    if (!order || !memory) exit(1);
    for (size_t i = 0; i < lines; i++) order[i] = i;
    for (size_t i = lines - 1; i > 0; i--) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17; /* Marsaglia's xorshift64 */
        size_t other = random % i, kept = order[i];
        order[i] = order[other], order[other] = kept;
    }
    for (size_t i = 0; i < lines; i++) *(void **)(memory + order[i] * LINE) = memory + order[(i + 1) % lines] * LINE;
    free(order);
    return (void **)memory;
}

static double read_ns(size_t size) {
    void **at = ring(size);
    double begun = 0;
    for (int i = -READS; i < READS; i++) { /* once to warm up */
        if (i == 0) begun = now();
        at = *at;
    }
    double took = now() - begun;
    return at ? took / READS * 1e9 : 0;
}

int main(void) {
    double near = read_ns(1 << 20), far = read_ns(8 << 20);
    printf("{\"1 MB\": %.1f, \"8 MB\": %.1f}\n", near, far);
}

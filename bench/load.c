/* A load that costs little beside what it measures: one request, sent again and again over kept connections.
 *
 *     load HOST PORT REQUEST [--concurrency C] [--requests N] [--rate R] [--seconds T] [--warm S]
 *                            [--first TEXT] [--end TEXT] [--least BYTES] [--each 1]
 *
 * REQUEST is a file with the bytes of the whole request. Without a rate the loop is closed: C requests at a time, until N
 * are done or T seconds are over (then those that run are waited for). With one it is open: R begin a second for T seconds,
 * by chance and whatever becomes of those before them, and every time is measured from the moment at which a request was
 * meant to begin. Those meant to begin before S count in nothing but errors. An answer is good if its status is 200 and its
 * body, unchunked, is whole, has BYTES or more, and holds the text of --end. --first is how the first content is known.
 * Nothing heard on any connection for half a minute ends the run; what had not ended by then is an error.
 *
 * Prints one JSON object; with --each 1 also when each request was meant to begin, in seconds, and after how many ms its first
 * content came. One thread, one epoll.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, MARK_MAX = 64, READ_MAX = 1 << 16, ERRORS_MAX = 1000, PATIENCE_S = 30 };
typedef enum { IDLE, HEAD, LENGTH, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, TO_EOF } State;

typedef struct Conn {
    int fd, reused, writing, counted, ended, close_after, broken;
    int bad; /* its status is not 200; 2: `why` is its body */
    State state;
    size_t sent, have, left, body, kept; /* kept: bytes of `tail`, the end of what came before */
    int64_t meant, first_byte, first_content, heard;
    char tail[MARK_MAX];
    char *head; /* the answer's, and the line of a chunk's size */
    struct Conn *next_idle;
} Conn;

typedef struct { double *ms; size_t count, room; } Samples;
static double concurrency = 1, requests, rate, seconds = 1e9, warm, least, each;
static const char *first_mark, *end_mark;
static struct addrinfo *address;
static char *request, why[512];
static size_t request_length;
static int poller, clock_fd;
static Conn *idle;
static long begun, running, done, good, errors;
static int64_t begin_ns, last_heard, widest_gap;
static Samples latency, first_byte, first_content, meant;

static void fail(const char *what) { perror(what); exit(1); }
static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sample(Samples *s, int64_t ns) {
    if (s->count == s->room) s->ms = realloc(s->ms, sizeof(double) * (s->room = s->room * 2 + 1024));
    s->ms[s->count++] = ns / 1e6;
}

/* ---- one request ---- */

static void send_rest(Conn *c) {
    ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
    if (n > 0) c->sent += n;
    if (n < 0 && errno != EAGAIN) c->broken = errno; /* told when the socket is read */
    int writing = c->sent < request_length;
    struct epoll_event wanted = {writing ? EPOLLIN | EPOLLOUT : EPOLLIN, {.ptr = c}};
    if (writing != c->writing) epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &wanted);
    c->writing = writing;
}

static void connect_to(Conn *c) {
    c->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(c->fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS) fail("connect");
    c->reused = 0, c->writing = 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){EPOLLIN | EPOLLOUT, {.ptr = c}});
}

static void begin(int64_t meant) {
    Conn *c = idle;
    if (c) idle = c->next_idle;
    else c = calloc(1, sizeof *c), c->fd = -1, c->head = malloc(HEAD_MAX + 1);
    c->state = HEAD;
    c->sent = c->have = c->body = c->kept = 0;
    c->first_byte = c->first_content = c->ended = c->close_after = c->bad = c->broken = 0;
    c->meant = c->heard = meant;
    c->counted = meant - begin_ns >= warm * 1e9;
    begun++, running++;
    if (c->fd < 0) connect_to(c);
    else send_rest(c);
}

static void finish(Conn *c, const char *error) {
    int64_t now = now_ns();
    running--, done++;
    if (c->bad) error = *why ? why : "a status other than 200";
    if (!error && !c->ended) error = "the answer ended without its end mark";
    if (!error && c->body < least) error = "the answer is too short";
    if (error) {
        errors++;
        if (!*why) snprintf(why, sizeof why, "%s", error);
    } else if (c->counted) {
        good++;
        sample(&latency, now - c->meant);
        sample(&first_byte, c->first_byte - c->meant);
        if (c->first_content) {
            sample(&first_content, c->first_content - c->meant);
            sample(&meant, c->meant - begin_ns);
        }
    }
    c->state = IDLE, c->reused = 1;
    if (error || c->close_after) close(c->fd), c->fd = -1;
    c->next_idle = idle, idle = c;
    if (!rate && (!requests || begun < requests) && now - begin_ns < seconds * 1e9 && errors < ERRORS_MAX)
        begin(now);
}

/* ---- its answer ---- */

static void body(Conn *c, const char *at, size_t n, int64_t now) {
    static char joined[MARK_MAX + READ_MAX];
    if (!n) return;
    if (c->body && c->counted && now - c->heard > widest_gap) widest_gap = now - c->heard;
    c->heard = now;
    c->body += n;
    if (c->ended && c->first_content) return;
    memcpy(joined, c->tail, c->kept); /* a mark may be cut in two */
    memcpy(joined + c->kept, at, n);
    size_t all = c->kept + n;
    if (!c->first_content && first_mark && memmem(joined, all, first_mark, strlen(first_mark))) c->first_content = now;
    if (!c->ended) c->ended = !end_mark || memmem(joined, all, end_mark, strlen(end_mark));
    c->kept = all < MARK_MAX ? all : MARK_MAX;
    memcpy(c->tail, joined + all - c->kept, c->kept);
}

/* The answer's head, once it is whole: how its body is told. */
static void head(Conn *c) {
    c->head[c->have] = 0;
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->state = CHUNK_SIZE;
    else if (length) c->state = LENGTH, c->left = strtoull(length + 17, NULL, 10);
    else c->state = TO_EOF;
    c->close_after = c->state == TO_EOF || strcasestr(c->head, "\r\nconnection: close") != NULL;
    if (strncmp(c->head + 8, " 200", 4)) {
        c->bad = *why ? 1 : 2;
        if (c->bad == 2) snprintf(why, sizeof why, "answered %.30s … ", c->head);
    }
    c->have = 0;
}

/* Takes in what came; true when that was the answer's end. */
static int take(Conn *c, const char *at, size_t n, int64_t now) {
    const char *stop = at + n;
    while (at < stop) {
        size_t here = stop - at;
        switch (c->state) {
        case HEAD:
            if (c->have == HEAD_MAX) return 1;
            c->head[c->have++] = *at++;
            if (at[-1] == '\n' && c->have > 3 && !memcmp(c->head + c->have - 4, "\r\n\r\n", 4)) {
                head(c);
                if (c->state == LENGTH && !c->left) return 1;
            }
            break;
        case LENGTH:
        case CHUNK:
            here = here < c->left ? here : c->left;
            if (c->bad == 2) snprintf(why + strlen(why), sizeof why - strlen(why), "%.*s", (int)here, at);
            body(c, at, here, now);
            at += here;
            if (c->left -= here) break;
            if (c->state == LENGTH) return 1;
            c->state = CHUNK_END;
            break;
        case CHUNK_END:
            if (*at++ == '\n') c->state = CHUNK_SIZE;
            break;
        case CHUNK_SIZE:
            if (c->have < 32) c->head[c->have++] = *at;
            if (*at++ != '\n') break;
            c->left = strtoull(c->head, NULL, 16);
            c->have = 0;
            c->state = c->left ? CHUNK : TRAILER;
            break;
        case TRAILER: /* no trailers are sent in answer to us: the empty line */
            if (*at++ == '\n') return 1;
            break;
        default: /* TO_EOF */
            body(c, at, here, now);
            at = stop;
        }
    }
    return 0;
}

static void readable(Conn *c) {
    static char got[READ_MAX];
    ssize_t n = recv(c->fd, got, sizeof got, 0);
    if (n < 0 && errno == EAGAIN) return;
    int64_t now = last_heard = now_ns();
    if (n > 0 && c->state != IDLE) {
        if (c->state == HEAD && !c->have) c->first_byte = now;
        if (take(c, got, n, now)) finish(c, NULL);
        return;
    }
    if (c->state == TO_EOF) {
        finish(c, NULL);
    } else if (c->state == IDLE || (c->reused && c->state == HEAD && !c->have)) { /* closed while idle: anew, unseen */
        close(c->fd), c->fd = -1, c->sent = 0;
        if (c->state == HEAD) connect_to(c);
    } else {
        finish(c, c->broken ? strerror(c->broken) : n ? strerror(errno) : "the connection was closed within an answer");
    }
}

/* ---- the run ---- */

static int by_size(const void *a, const void *b) {
    return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b);
}

static void print_samples(const char *name, Samples *s) {
    printf("\"%s\": {", name);
    if (s->count) {
        qsort(s->ms, s->count, sizeof(double), by_size);
        printf("\"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f", s->ms[(s->count - 1) / 2],
               s->ms[(size_t)((s->count - 1) * .9)], s->ms[(size_t)((s->count - 1) * .99)], s->ms[s->count - 1]);
    }
    printf("}, ");
}

static void print_report(void) {
    printf("{\"done\": %ld, \"good\": %ld, \"errors\": %ld, \"first_contents\": [", done, good, errors);
    for (size_t i = 0; each && i < first_content.count; i++) /* before they are sorted */
        printf("%s[%.4f, %.4f]", i ? ", " : "", meant.ms[i] / 1000, first_content.ms[i]);
    printf("], ");
    print_samples("latency_ms", &latency);
    print_samples("first_byte_ms", &first_byte);
    print_samples("first_content_ms", &first_content);
    for (char *at = why; *at; at++)
        if (*at == '"' || *at == '\\' || *at < ' ' || *at > '~') *at = '\'';
    printf("\"widest_gap_ms\": %.3f, \"error\": \"%s\"}\n", widest_gap / 1e6, why);
}

static void arguments(int argc, char **argv) {
    const struct { const char *name; double *number; const char **text; } options[] = {
        {"--concurrency", &concurrency, 0}, {"--requests", &requests, 0}, {"--rate", &rate, 0}, {"--seconds", &seconds, 0},
        {"--warm", &warm, 0}, {"--least", &least, 0}, {"--each", &each, 0},
        {"--first", 0, &first_mark}, {"--end", 0, &end_mark}, {NULL, 0, 0}};
    for (int i = 4, o = 0; i + 1 < argc; i += 2, o = 0) {
        while (options[o].name && strcmp(options[o].name, argv[i])) o++;
        if (options[o].number) *options[o].number = atof(argv[i + 1]);
        else if (options[o].text) *options[o].text = argv[i + 1];
        else { fprintf(stderr, "load: what is %s?\n", argv[i]); exit(2); }
    }
    if (getaddrinfo(argv[1], argv[2], &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &address)) fail(argv[1]);
    FILE *f = fopen(argv[3], "rb");
    if (!f || !(request = malloc(64 << 20))) fail(argv[3]);
    request_length = fread(request, 1, 64 << 20, f);
    fclose(f);
}

/* Until the next beginning of an open loop: by chance, as callers come who know nothing of each other, and by the same
   chance in every run. At an even rate of 50 a second all streams of an event each 20 ms would be in step. */
static int64_t gap(void) { return -log(1 - drand48()) / rate * 1e9; }

int main(int argc, char **argv) {
    if (argc < 4 || argc % 2) { fprintf(stderr, "usage: load HOST PORT REQUEST [--option value]…\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    srand48(1);
    arguments(argc, argv);
    poller = epoll_create1(EPOLL_CLOEXEC);
    clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, clock_fd, &(struct epoll_event){EPOLLIN, {.ptr = NULL}});
    begin_ns = last_heard = now_ns();
    int64_t due = begin_ns;
    long planned = rate ? (long)(rate * seconds) : concurrency;
    while (!rate && begun < planned && (!requests || begun < requests)) begin(begin_ns);
    while (running || (rate && begun < planned)) {
        if (rate && begun < planned && errors < ERRORS_MAX) {
            for (; begun < planned && due <= now_ns(); due += gap()) begin(due);
            struct itimerspec at = {{0, 0}, {due / 1000000000, due % 1000000000}}, never = {0};
            timerfd_settime(clock_fd, TFD_TIMER_ABSTIME, begun < planned ? &at : &never, NULL);
        } else if (rate) {
            planned = begun;
        }
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, 1000);
        for (struct epoll_event *e = events; e < events + n; e++) {
            Conn *c = e->data.ptr;
            if (!c) continue; /* the clock: the loop's head looks */
            if (e->events & EPOLLOUT && c->fd >= 0 && c->state == HEAD) send_rest(c);
            if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->fd >= 0) readable(c);
        }
        if (now_ns() - last_heard > PATIENCE_S * 1000000000LL) break;
    }
    errors += running;
    if (running && !*why) strcpy(why, "an answer had not ended when nothing was heard any more");
    print_report();
    return 0;
}

/* A provider that costs next to nothing: OpenAI's, Anthropic's and Gemini's answers, whole or as paced events.
 *
 *     upstream PORT FOLDER
 *
 * FOLDER holds <dialect>.json, sent whole, and <dialect>.sse, whose events (a blank line ends each) are sent one by one,
 * a chunk and a system call each. GET /control/PACE_MS/STEP reads the folder again and sets the pace of the streams that
 * begin from then on; 0 is as fast as may be. The first event goes out at once. With STEP 0 each stream keeps its own time:
 * one wait, behind the fifth event, is a random part of the pace, so that streams that begin together do not stay in step
 * (and the time to their first content can be compared). With 1 the events of all of them are due at the same moments.
 *
 * One thread, one epoll, one wheel of timers: a slot every TICK_NS, streams linked into the slot in which they are due.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

enum { TICK_NS = 250000, SLOTS = 1 << 14, PACE_MAX_MS = 4000, OUT_OF_STEP = 5, ROOM = 4096, REQUEST_MAX = 64 << 20 };

typedef struct { char *at; size_t length; } Bytes;
typedef struct { int count; Bytes *events; } Script; /* a stream, ready to send: head in the first, end in the last */
typedef struct { const char *name, *head; Bytes whole; Script *script; } Dialect;

typedef struct Conn {
    int fd;
    char *in;                    /* what has come of the request */
    size_t have, room;
    Bytes out;                   /* what the socket did not take */
    char *out_memory;
    Script *script;              /* NULL: no stream is running */
    int next, pace_ticks, linked;
    int64_t due_tick;
    struct Conn *before, *after; /* in a slot of the wheel */
} Conn;

/* Headers as recorded (date and ids fixed: nobody reads them). */
static Dialect dialects[] = {
    {"openai",
     "date: Wed, 19 Aug 2026 14:36:58 GMT\r\nserver: cloudflare\r\nopenai-processing-ms: 2398\r\n"
     "openai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 10000000\r\n"
     "x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-remaining-tokens: 9999993\r\nx-request-id: req_8b5e3a\r\n", {0}, NULL},
    {"anthropic",
     "date: Wed, 19 Aug 2026 14:34:17 GMT\r\nserver: cloudflare\r\nanthropic-ratelimit-requests-limit: 10000\r\n"
     "anthropic-ratelimit-requests-remaining: 9999\r\nanthropic-ratelimit-tokens-limit: 12000000\r\n"
     "anthropic-ratelimit-tokens-remaining: 11997000\r\nrequest-id: req_011CeCGm\r\nvary: Accept-Encoding\r\n", {0}, NULL},
    {"gemini",
     "date: Wed, 19 Aug 2026 14:34:17 GMT\r\nserver-timing: gfet4t7; dur=1995\r\nvary: Origin, X-Origin, Referer\r\n", {0}, NULL},
};
enum { DIALECTS = sizeof dialects / sizeof *dialects };

static int poller, clock_fd, pace_ticks, in_step, running;
static int64_t started_ns, tick; /* every slot up to `tick` has been served */
static Conn *wheel[SLOTS];

static void fail(const char *what) { perror(what); exit(1); }
static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- the answers ---- */

static Bytes file(const char *folder, const char *name, const char *kind) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, kind);
    FILE *f = fopen(path, "rb");
    if (!f) fail(path);
    Bytes text = {malloc(16 << 20), 0};
    text.length = fread(text.at, 1, (16 << 20) - 1, f);
    text.at[text.length] = 0;
    return fclose(f), text;
}

static Bytes joined(const char *head, size_t head_length, const char *body, size_t length, const char *end) {
    Bytes all = {malloc(head_length + length + strlen(end)), head_length + length + strlen(end)};
    memcpy(all.at, head, head_length);
    memcpy(all.at + head_length, body, length);
    memcpy(all.at + head_length + length, end, strlen(end));
    return all;
}

static Script *script(const char *head, Bytes text) {
    Script *made = calloc(1, sizeof *made);
    made->events = malloc(sizeof(Bytes) * (text.length / 4 + 1));
    const char *at = text.at, *end = text.at + text.length;
    while (at < end) {
        char *lf = strstr(at, "\n\n"), *crlf = strstr(at, "\r\n\r\n");
        const char *stop = crlf && (!lf || crlf < lf) ? crlf + 4 : lf ? lf + 2 : end;
        char size[1024];
        int n = snprintf(size, sizeof size, "%s%zx\r\n", made->count ? "" : head, (size_t)(stop - at));
        made->events[made->count++] = joined(size, n, at, stop - at, stop == end ? "\r\n0\r\n\r\n" : "\r\n");
        at = stop;
    }
    return made;
}

/* What was read before is kept: streams that are running still send it. */
static void read_answers(const char *folder) {
    for (Dialect *d = dialects; d < dialects + DIALECTS; d++) {
        char head[1024];
        Bytes whole = file(folder, d->name, "json"), stream = file(folder, d->name, "sse");
        int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\n"
                         "content-length: %zu\r\n\r\n", d->head, whole.length);
        d->whole = joined(head, n, whole.at, whole.length, "");
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n%scontent-type: text/event-stream; charset=utf-8\r\n"
                 "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n", d->head);
        d->script = script(head, stream);
        free(whole.at), free(stream.at);
    }
}

/* ---- the wheel ---- */

static void tick_if(int on) {
    struct itimerspec every = {{0, on ? TICK_NS : 0}, {0, on ? TICK_NS : 0}};
    timerfd_settime(clock_fd, 0, &every, NULL);
}

static void link_up(Conn *c, int64_t due_tick) {
    c->due_tick = due_tick <= tick ? tick + 1 : due_tick;
    Conn **slot = &wheel[c->due_tick % SLOTS];
    c->before = NULL, c->after = *slot;
    if (*slot) (*slot)->before = c;
    *slot = c, c->linked = 1;
    if (!running++) tick_if(1);
}

static void unlink_from_wheel(Conn *c) {
    if (c->before) c->before->after = c->after;
    else wheel[c->due_tick % SLOTS] = c->after;
    if (c->after) c->after->before = c->before;
    c->linked = 0;
    if (!--running) tick_if(0);
}

/* ---- a connection ---- */

static void close_conn(Conn *c) {
    if (c->linked) unlink_from_wheel(c);
    close(c->fd);
    free(c->in), free(c->out_memory), free(c);
}

/* What does not fit waits until the socket is writable. A broken connection is shut, and closed when that is read of it:
   an event of it may be among those that epoll gave out already. */
static void put(Conn *c, Bytes b) {
    ssize_t n = c->out.length ? 0 : send(c->fd, b.at, b.length, MSG_NOSIGNAL);
    if (n < 0) n = errno == EAGAIN ? 0 : (shutdown(c->fd, SHUT_RDWR), 0);
    if ((size_t)n == b.length) return;
    char *rest = malloc(c->out.length + b.length - n);
    if (c->out.length) memcpy(rest, c->out.at, c->out.length);
    memcpy(rest + c->out.length, b.at + n, b.length - n);
    free(c->out_memory);
    c->out_memory = rest;
    c->out = (Bytes){rest, c->out.length + b.length - n};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){EPOLLIN | EPOLLOUT, {.ptr = c}});
}

static void flush(Conn *c) {
    ssize_t n = send(c->fd, c->out.at, c->out.length, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    c->out.at += n < 0 ? 0 : n;
    c->out.length = n < 0 ? 0 : c->out.length - n;
    if (!c->out.length) epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){EPOLLIN, {.ptr = c}});
}

/* The next event, and when the one behind it is due. */
static void advance(Conn *c) {
    do {
        put(c, c->script->events[c->next++]);
        if (c->next == c->script->count) {
            c->script = NULL;
            return;
        }
    } while (!c->pace_ticks);
    int64_t due = c->due_tick + (c->next == OUT_OF_STEP ? 1 + random() % c->pace_ticks : c->pace_ticks);
    link_up(c, in_step ? due - due % c->pace_ticks : due);
}

/* What is no call of a model gets a list of models: routers ask for that, and for health. */
static void answer(Conn *c, const char *folder, size_t body_at) {
    static Bytes models;
    if (!models.at) {
        static const char list[] =
            "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4.1-mini\",\"object\":\"model\",\"owned_by\":\"openai\"}]}";
        char head[128];
        int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                         sizeof list - 1);
        models = joined(head, n, list, sizeof list - 1, "");
    }
    size_t line = strstr(c->in, "\r\n") - c->in, length = c->have - body_at;
    char *body = c->in + body_at;
    int ms;
    if (sscanf(c->in, "GET /control/%d/%d", &ms, &in_step) == 2) {
        read_answers(folder);
        pace_ticks = (ms > PACE_MAX_MS ? PACE_MAX_MS : ms) * 1000000LL / TICK_NS;
    }
    int found = strncmp(c->in, "POST", 4) ? -1
              : memmem(c->in, line, "/chat/completions", 17) ? 0
              : memmem(c->in, line, "/v1/messages", 12) ? 1
              : memmem(c->in, line, "enerateContent", 14) ? 2 : -1;
    int stream = found == 2 ? memmem(c->in, line, "streamGenerateContent", 21) != NULL
                            : memmem(body, length, "\"stream\":true", 13) || memmem(body, length, "\"stream\": true", 14);
    if (found < 0 || !stream) {
        put(c, found < 0 ? models : dialects[found].whole);
        return;
    }
    if (!running) tick = (now_ns() - started_ns) / TICK_NS; /* the wheel stood still */
    c->script = dialects[found].script;
    c->next = 0, c->pace_ticks = pace_ticks;
    c->due_tick = tick;
    advance(c);
}

/* Where the body begins once the request is here whole, else 0. Its end is taken for the end of what came: no pipelining. */
static size_t whole_request(Conn *c) {
    c->in[c->have] = 0;
    char *head_end = strstr(c->in, "\r\n\r\n");
    if (!head_end) return 0;
    size_t body_at = head_end + 4 - c->in;
    *head_end = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    int chunked = strcasestr(c->in, "\r\ntransfer-encoding:") != NULL;
    *head_end = '\r';
    if (chunked) return c->have >= body_at + 5 && !memcmp(c->in + c->have - 5, "0\r\n\r\n", 5) ? body_at : 0;
    return c->have >= body_at + (length ? strtoull(length + 17, NULL, 10) : 0) ? body_at : 0;
}

static void readable(Conn *c, const char *folder) {
    if (c->room - c->have < ROOM && c->room < REQUEST_MAX) c->in = realloc(c->in, (c->room = c->room * 2 + ROOM) + 1);
    ssize_t n = recv(c->fd, c->in + c->have, c->room - c->have, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { close_conn(c); return; }
    c->have += n;
    if (c->script) return; /* a client that speaks before its answer has ended: heard when it asks again */
    size_t body_at = whole_request(c);
    if (!body_at) return;
    answer(c, folder, body_at);
    c->have = 0;
}

static void accept_all(int listening) {
    for (int fd; (fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.ptr = c}});
    }
}

static void serve_wheel(void) {
    uint64_t times;
    if (read(clock_fd, &times, sizeof times) < 0 && errno != EAGAIN) fail("timerfd");
    int64_t now_tick = (now_ns() - started_ns) / TICK_NS;
    while (running && tick < now_tick) {
        tick++;
        for (Conn *c = wheel[tick % SLOTS], *after; c; c = after) {
            after = c->after;
            unlink_from_wheel(c);
            advance(c);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "usage: upstream PORT FOLDER\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    read_answers(argv[2]);
    started_ns = now_ns();
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in here = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(listening, (struct sockaddr *)&here, sizeof here) || listen(listening, 4096)) fail("listen");
    poller = epoll_create1(EPOLL_CLOEXEC);
    clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, listening, &(struct epoll_event){EPOLLIN, {.ptr = &listening}});
    epoll_ctl(poller, EPOLL_CTL_ADD, clock_fd, &(struct epoll_event){EPOLLIN, {.ptr = &clock_fd}});
    for (struct epoll_event events[256];;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (struct epoll_event *e = events; e < events + n; e++) {
            if (e->data.ptr == &listening) accept_all(listening);
            else if (e->data.ptr == &clock_fd) serve_wheel();
            else {
                if (e->events & EPOLLOUT) flush(e->data.ptr);
                if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(e->data.ptr, argv[2]);
            }
        }
    }
}

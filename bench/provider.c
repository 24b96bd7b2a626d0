/*
 * The upstream of the bench: what loadgen.c asks for, answered as `headgate mock` answers it.
 *
 *   provider PORT
 *
 * The same bytes in the same writes, from one thread and one epoll, for a fraction of what it
 * costs to relay them; and each stream at a moment of its own, to the microsecond.  It knows one
 * route and the options that loadgen.c sends, and refuses all else with a 400.
 *
 * It listens on 127.0.0.1 until SIGTERM or SIGINT.  The last thing it says is how many
 * connections it took and how many answers went over them: {"connections": N, "answers": N}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "reply.h"

enum { REQUEST = 4 * 1024 }; /* head and body; the bench's own are some 500 bytes */
enum { BURST = 16 };         /* pieces without an interval, before others have their turn */
enum { BACKLOG = 4096, READY = 512 };

/* Streams that begin together must not tick together: each has another part of its interval, and
   multiples of the golden ratio never fall close to one another. */
static const double GOLDEN = 0.6180339887498949;

static const size_t NOWHERE = (size_t)-1;

struct connection {
    int fd;
    struct reply reply;
    uint64_t due; /* when the last write was, or the next one is */
    size_t slot;  /* among those that wait for their time, or NOWHERE */
    size_t held;  /* bytes of requests */
    char request[REQUEST + 1];
    size_t unsent; /* bytes that the socket did not take */
    char rest[PIECE];
};

static struct { unsigned connections, requests, answers; } tally;
static int poll_fd, listen_fd;
static volatile sig_atomic_t ended;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void watch(int operation, int fd, uint32_t events, void *mark) {
    struct epoll_event e = {.events = events, .data.ptr = mark};
    if (epoll_ctl(poll_fd, operation, fd, &e) < 0)
        die("provider: epoll_ctl");
}

/* --- who waits for its time: a heap, the first one due on top ------------------------------- */

static struct connection **heap;
static size_t waiting, room;

static void place(struct connection *c, size_t slot) {
    heap[slot] = c;
    c->slot = slot;
}

static void rise(struct connection *c, size_t slot) {
    for (size_t up; slot > 0 && heap[up = (slot - 1) / 2]->due > c->due; slot = up)
        place(heap[up], slot);
    place(c, slot);
}

static void sink(struct connection *c, size_t slot) {
    for (size_t down; (down = 2 * slot + 1) < waiting; slot = down) {
        if (down + 1 < waiting && heap[down + 1]->due < heap[down]->due)
            down++;
        if (heap[down]->due >= c->due)
            break;
        place(heap[down], slot);
    }
    place(c, slot);
}

static void wait_until(struct connection *c, uint64_t due) {
    if (waiting == room) {
        room = room ? 2 * room : 1024;
        if (!(heap = realloc(heap, room * sizeof *heap)))
            die("provider: memory");
    }
    c->due = due;
    rise(c, waiting++);
}

static void wait_no_more(struct connection *c) {
    size_t slot = c->slot;
    c->slot = NOWHERE;
    struct connection *last = heap[--waiting];
    if (last == c)
        return;
    if (slot > 0 && heap[(slot - 1) / 2]->due > last->due)
        rise(last, slot);
    else
        sink(last, slot);
}

/* --- a connection's life -------------------------------------------------------------------- */

static void leave(struct connection *c) {
    if (c->slot != NOWHERE)
        wait_no_more(c);
    close(c->fd);
    free(c);
}

static void refuse(struct connection *c, const char *complaint) {
    fprintf(stderr, "provider: refused a request: %s\n", complaint);
    dprintf(c->fd, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n%s",
            strlen(complaint), complaint);
    leave(c);
}

/* Write bytes; false if they are not all gone: the connection waits until it can, or has ended. */
static bool sent(struct connection *c, const char *bytes, size_t n) {
    ssize_t taken = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) {
        leave(c);
        return false;
    }
    size_t before = c->unsent;
    c->unsent = n - (taken > 0 ? (size_t)taken : 0);
    memmove(c->rest, bytes + n - c->unsent, c->unsent);
    if (!before != !c->unsent)
        watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | (c->unsent ? EPOLLOUT : 0), c);
    return c->unsent == 0;
}

static void serve(struct connection *c);

static bool replied(const struct connection *c) {
    return c->reply.part == NOTHING;
}

static void go_on(struct connection *c) {
    uint64_t interval = c->reply.call.interval;
    if (replied(c))
        serve(c);
    else
        wait_until(c, interval ? c->due + interval : now_ns());
}

static void step(struct connection *c) {
    for (int left = c->reply.call.interval ? 1 : BURST; left > 0 && !replied(c); left--) {
        const struct text *piece = reply_next(&c->reply, now_ns());
        tally.answers += replied(c);
        if (!sent(c, piece->bytes, piece->size))
            return;
    }
    go_on(c);
}

/* Return the first moment after `now` at which the n-th of all answers is to tick.  It is the
   clock's and not the request's: what a proxy adds must not move the streams together. */
static uint64_t phase(unsigned n, uint64_t interval, uint64_t now) {
    double turns = n * GOLDEN;
    uint64_t tick = now - now % interval + (uint64_t)((turns - (long)turns) * (double)interval);
    return tick > now ? tick : tick + interval;
}

static void answer(struct connection *c) {
    const struct call *call = &c->reply.call;
    uint64_t now = now_ns();
    c->due = call->interval ? phase(c->reply.number, call->interval, now) : now;
    if (call->interval && !call->stream) /* a document takes as long as its tokens would */
        wait_until(c, now + call->interval * (uint64_t)call->tokens);
    else
        step(c);
}

/* --- requests ------------------------------------------------------------------------------- */

/* Return the length of the body, or -1 if this is no head we take.  `end` is after its last CRLF. */
static long body_length(const char *head, const char *end) {
    static const char route[] = "POST /v1/chat/completions HTTP/1.1\r\n";
    long length = -1;
    if (strncmp(head, route, sizeof route - 1) != 0)
        return -1;
    for (const char *line = strchr(head, '\n') + 1; line < end; line = strchr(line, '\n') + 1) {
        if (strncasecmp(line, "transfer-encoding:", 18) == 0 ||
            strncasecmp(line, "connection: close\r", 18) == 0)
            return -1;
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtol(line + 15, NULL, 10);
    }
    return length > REQUEST ? -1 : length;
}

/* Read a body of `n` bytes, which another request may follow; return what is wrong with it. */
static const char *read_call(struct connection *c, char *body, size_t n) {
    char after = body[n];
    body[n] = '\0';
    const char *complaint = call_read(&c->reply.call, body);
    body[n] = after;
    c->held -= (size_t)(body + n - c->request);
    memmove(c->request, body + n, c->held);
    return complaint ? complaint : reply_begin(&c->reply, ++tally.requests, (long)time(NULL));
}

/* Answer the next request, if it is here. */
static void serve(struct connection *c) {
    c->request[c->held] = '\0';
    char *end = strstr(c->request, "\r\n\r\n");
    long length = end ? body_length(c->request, end + 2) : 0;
    size_t size = end ? (size_t)(end + 4 - c->request) + (size_t)length : REQUEST + 1;
    if (length < 0) {
        refuse(c, "not a route or a framing known here");
    } else if (c->held < size) {
        if (c->held == REQUEST)
            refuse(c, "a request too long");
    } else {
        const char *complaint = read_call(c, end + 4, (size_t)length);
        if (complaint)
            refuse(c, complaint);
        else
            answer(c);
    }
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, c->request + c->held, REQUEST - c->held, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) { /* a client that says it is done has left, as providers take it */
        leave(c);
        return;
    }
    c->held += (size_t)n;
    if (replied(c) && !c->unsent)
        serve(c);
}

static void welcome(void) {
    for (int fd; (fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("provider: memory");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        c->fd = fd;
        c->slot = NOWHERE;
        c->reply.part = NOTHING;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
        tally.connections++;
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("provider: accept");
}

/* --- the loop ------------------------------------------------------------------------------- */

static void handle(struct connection *c, uint32_t events) {
    if (!c)
        welcome();
    else if (!(events & EPOLLOUT))
        receive(c);
    else if (sent(c, c->rest, c->unsent))
        go_on(c);
}

/* Let those have their turn whose time has come; once: who lags catches up, but holds up nobody. */
static void step_due(void) {
    uint64_t now = now_ns();
    for (size_t most = waiting; most > 0 && waiting > 0 && heap[0]->due <= now; most--) {
        struct connection *c = heap[0];
        wait_no_more(c);
        step(c);
    }
}

static void turn(const sigset_t *awake) {
    struct epoll_event ready[READY];
    struct timespec pause, *until = NULL;
    if (waiting > 0) {
        uint64_t now = now_ns(), left = heap[0]->due > now ? heap[0]->due - now : 0;
        pause = (struct timespec){(time_t)(left / 1000000000), (long)(left % 1000000000)};
        until = &pause;
    }
    int n = epoll_pwait2(poll_fd, ready, READY, until, awake);
    for (int i = 0; i < n; i++)
        handle(ready[i].data.ptr, ready[i].events);
    step_due();
}

static void end(int number) {
    (void)number;
    ended = 1;
}

/* Signals come only while nothing else is done; `awake` is the mask for that time. */
static void catch_signals(sigset_t *awake) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, awake);
    sigdelset(awake, SIGTERM);
    sigdelset(awake, SIGINT);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = end}, NULL);
}

static void listen_on(long port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    at.sin_port = htons((uint16_t)port);
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listen_fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(listen_fd, BACKLOG) < 0)
        die("provider: listen");
    watch(EPOLL_CTL_ADD, listen_fd, EPOLLIN, NULL);
}

static void allow_descriptors(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (port < 1 || port > 65535) {
        fputs("usage: provider PORT\n", stderr);
        return 2;
    }
    sigset_t awake;
    catch_signals(&awake);
    allow_descriptors();
    prctl(PR_SET_TIMERSLACK, 1); /* ns; the usual 50 µs would put streams together again */
    if ((poll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("provider: epoll_create1");
    listen_on(port);
    while (!ended)
        turn(&awake);
    printf("{\"connections\": %u, \"answers\": %u}\n", tally.connections, tally.answers);
    return 0;
}

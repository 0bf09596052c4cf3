/* Many WebSocket subscribers in one epoll loop: counts messages and measures how old they are.
 *
 * fanout_client PORT PATH CONNECTIONS MESSAGES [TOKEN SUBSCRIBE]
 *
 * Opens the connections, sends SUBSCRIBE on each, and once all of them are answered prints "ready". A message is a frame that holds
 * `"trade_id":T` with T in ns of CLOCK_MONOTONIC. After MESSAGES on every connection (or 5 s of silence) prints
 * "DELIVERED SECONDS P50_US P99_US": the time runs from the first message to the last.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (128 * 1024)
#define KEPT 4000000

struct connection {
    int fd;
    size_t filled;
    char *buffer;
};

static uint32_t *ages;
static long long delivered, first_ns, last_ns;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void send_text(int fd, const char *text) {
    unsigned char head[8] = {0x81};
    size_t size = strlen(text), length = 2;
    if (size < 126) {
        head[1] = 0x80 | size;
    } else {
        head[1] = 0x80 | 126;
        head[2] = size >> 8;
        head[3] = size & 255;
        length = 4;
    }
    length += 4; /* a mask of zeros */
    if (write(fd, head, length) < 0 || write(fd, text, size) < 0) fail("subscribe");
}

static void send_pong(int fd, const void *payload, size_t size) {
    unsigned char frame[131] = {0x8A, 0x80 | size}; /* a mask of zeros */
    memcpy(frame + 6, payload, size);
    if (write(fd, frame, 6 + size) < 0) fail("pong");
}

static int open_socket(int port, const char *path, const char *token) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[1024], answer[2048];
    int size = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s\r\n", path, *token ? "Authorization: Bearer " : "", token,
        *token ? "\r\n" : "");
    if (write(fd, request, size) != size) fail("upgrade");
    size_t filled = 0;
    while (!memmem(answer, filled, "\r\n\r\n", 4)) { /* byte by byte: what follows the head is a frame */
        if (read(fd, answer + filled, 1) != 1 || ++filled == sizeof answer) fail("upgrade answer");
    }
    return fd;
}

/* The frames at the start of the buffer; returns how many bytes they are. */
static size_t take_frames(int fd, const char *buffer, size_t filled, long long now, int *other) {
    size_t place = 0;
    while (filled - place >= 2) {
        const unsigned char *frame = (const unsigned char *)buffer + place;
        size_t head = 2, size = frame[1] & 127;
        if (size == 126) {
            if (filled - place < 4) break;
            size = frame[2] << 8 | frame[3];
            head = 4;
        } else if (size == 127) {
            fprintf(stderr, "a frame is too long\n");
            exit(1);
        }
        if (filled - place < head + size) break;
        const char *found = memmem(frame + head, size, "\"trade_id\":", 11);
        if ((frame[0] & 15) == 9) {
            send_pong(fd, frame + head, size);
        } else if (found) {
            long long age = (now - strtoll(found + 11, NULL, 10)) / 1000;
            if (!first_ns) first_ns = now;
            last_ns = now;
            if (delivered < KEPT) ages[delivered] = age < 0 ? 0 : age;
            delivered++;
        } else {
            ++*other;
        }
        place += head + size;
    }
    return place;
}

static int by_age(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    if (count < 5) return 2;
    int port = atoi(arguments[1]), connections = atoi(arguments[3]), answered = 0, is_ready = 0;
    long long wanted = atoll(arguments[4]) * connections;
    const char *token = count > 5 ? arguments[5] : "", *subscribe = count > 6 ? arguments[6] : "";
    struct connection *all = calloc(connections, sizeof *all);
    ages = malloc(KEPT * sizeof *ages);
    int loop = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        all[i].fd = open_socket(port, arguments[2], token);
        all[i].buffer = malloc(BUFFER);
        if (*subscribe) send_text(all[i].fd, subscribe);
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, all[i].fd, &event) < 0) fail("epoll");
    }
    if (!*subscribe) answered = connections;
    struct epoll_event events[512];
    while (delivered < wanted) {
        if (!is_ready && answered >= connections) {
            is_ready = 1;
            printf("ready\n");
            fflush(stdout);
        }
        int found = epoll_wait(loop, events, 512, is_ready && !delivered ? 30000 : 5000);
        if (found == 0) break;
        for (int i = 0; i < found; i++) {
            struct connection *one = events[i].data.ptr;
            ssize_t size = read(one->fd, one->buffer + one->filled, BUFFER - one->filled);
            if (size < 0 && errno == EAGAIN) continue;
            if (size <= 0) {
                fprintf(stderr, "a connection was closed\n");
                return 1;
            }
            one->filled += size;
            size_t taken = take_frames(one->fd, one->buffer, one->filled, now_ns(), &answered);
            memmove(one->buffer, one->buffer + taken, one->filled - taken);
            one->filled -= taken;
        }
    }
    long long kept = delivered < KEPT ? delivered : KEPT;
    if (!kept) return 1;
    qsort(ages, kept, sizeof *ages, by_age);
    printf("%lld %f %u %u\n", delivered, (last_ns - first_ns) / 1e9, ages[kept / 2], ages[(long long)(kept * 0.99)]);
    return 0;
}

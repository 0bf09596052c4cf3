/* What the kernel allows: frames that are ready, one send() a subscriber and turn, and nothing else.
 *
 * fanout_limit: prints its port, takes connections until a line comes on stdin: "PAYLOAD_SIZE TURNS FRAMES_A_TURN RATE"
 * (RATE turns a second, 0 for as fast as it goes).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void accept_one(int listener, int *fds, int *count) {
    static const char answer[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char request[4096];
    int fd = accept(listener, NULL, NULL), one = 1;
    size_t filled = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (!memmem(request, filled, "\r\n\r\n", 4)) filled += read(fd, request + filled, sizeof request - filled);
    if (write(fd, answer, sizeof answer - 1) < 0) exit(1);
    fds[(*count)++] = fd;
}

int main(void) {
    static int fds[MOST];
    int count = 0, listener = socket(AF_INET, SOCK_STREAM, 0), payload, turns, frames, rate;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct pollfd watched[2] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(watched, 2, -1) > 0 && !watched[1].revents) accept_one(listener, fds, &count);
    if (scanf("%d %d %d %d", &payload, &turns, &frames, &rate) != 4) return 1;
    size_t whole = payload + 4;
    char *bytes = malloc(whole * frames);
    long long began = now_ns();
    for (int turn = 0; turn < turns; turn++) {
        if (rate) {
            long long wait = began + turn * 1000000000LL / rate - now_ns();
            struct timespec pause = {wait / 1000000000LL, wait % 1000000000LL};
            if (wait > 0) nanosleep(&pause, NULL);
        }
        for (int i = 0; i < frames; i++) {
            char *frame = bytes + i * whole;
            frame[0] = (char)0x81;
            frame[1] = 126;
            frame[2] = payload >> 8;
            frame[3] = payload & 255;
            memset(frame + 4, ' ', payload);
            frame[4 + sprintf(frame + 4, "{\"trade_id\":%lld", now_ns())] = ',';
        }
        for (int i = 0; i < count; i++)
            if (send(fds[i], bytes, whole * frames, MSG_NOSIGNAL) < 0) return 1;
    }
    sleep(60);
    return 0;
}

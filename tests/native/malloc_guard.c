/* A watcher for the audio thread, to be loaded with LD_PRELOAD.
 *
 * Between rt_enter() and rt_exit() a thread-local flag is up, and every call on that thread that allocates, locks,
 * touches a file, maps memory or sleeps is counted by name. Other threads, and the same thread outside, cost one test.
 * The C library's own functions do the work, so a watched program behaves as always.
 *
 * Build: gcc -O2 -shared -fPIC malloc_guard.c -o malloc_guard.so -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Every watched function: its result, name, parameters, arguments. Each becomes one counter and one interposer. */
#define WATCHED(F)                                                                                                       \
    F(int, posix_memalign, (void **out, size_t align, size_t size), (out, align, size))                                  \
    F(void *, aligned_alloc, (size_t align, size_t size), (align, size))                                                 \
    F(void *, memalign, (size_t align, size_t size), (align, size))                                                      \
    F(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset), (at, size, prot, flags, fd, offset)) \
    F(int, munmap, (void *at, size_t size), (at, size))                                                                  \
    F(int, mprotect, (void *at, size_t size, int prot), (at, size, prot))                                                \
    F(int, madvise, (void *at, size_t size, int advice), (at, size, advice))                                             \
    F(int, pthread_mutex_lock, (pthread_mutex_t *m), (m))                                                                \
    F(int, pthread_mutex_trylock, (pthread_mutex_t *m), (m))                                                             \
    F(int, pthread_mutex_timedlock, (pthread_mutex_t *m, const struct timespec *t), (m, t))                              \
    F(int, pthread_rwlock_rdlock, (pthread_rwlock_t *l), (l))                                                            \
    F(int, pthread_rwlock_wrlock, (pthread_rwlock_t *l), (l))                                                            \
    F(int, pthread_cond_wait, (pthread_cond_t *c, pthread_mutex_t *m), (c, m))                                           \
    F(int, pthread_cond_timedwait, (pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t), (c, m, t))         \
    F(int, pthread_cond_signal, (pthread_cond_t *c), (c))                                                                \
    F(int, pthread_cond_broadcast, (pthread_cond_t *c), (c))                                                             \
    F(int, sem_wait, (sem_t *s), (s))                                                                                    \
    F(int, sem_timedwait, (sem_t *s, const struct timespec *t), (s, t))                                                  \
    F(int, close, (int fd), (fd))                                                                                        \
    F(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))                                                    \
    F(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))                                         \
    F(ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))                                     \
    F(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))                          \
    F(FILE *, fopen, (const char *path, const char *mode), (path, mode))                                                 \
    F(FILE *, fopen64, (const char *path, const char *mode), (path, mode))                                               \
    F(int, fclose, (FILE *file), (file))                                                                                 \
    F(size_t, fwrite, (const void *from, size_t size, size_t count, FILE *file), (from, size, count, file))              \
    F(int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))                                      \
    F(int, clock_nanosleep, (clockid_t clock, int flags, const struct timespec *t, struct timespec *left), (clock, flags, t, left)) \
    F(int, usleep, (useconds_t us), (us))                                                                                \
    F(unsigned, sleep, (unsigned s), (s))                                                                                \
    F(int, sched_yield, (void), ())                                                                                      \
    F(int, poll, (struct pollfd * fds, nfds_t count, int ms), (fds, count, ms))                                          \
    F(int, ppoll, (struct pollfd * fds, nfds_t count, const struct timespec *t, const sigset_t *mask), (fds, count, t, mask)) \
    F(int, select, (int count, fd_set *r, fd_set *w, fd_set *e, struct timeval *t), (count, r, w, e, t))

#define DIRECT(F) F(malloc) F(calloc) F(realloc) F(free) F(open) F(open64) F(openat) F(syscall)

enum {
#define INDEX_DIRECT(name) K_##name,
#define INDEX(result, name, parameters, arguments) K_##name,
    DIRECT(INDEX_DIRECT) WATCHED(INDEX) KINDS
};

static const char *const names[KINDS] = {
#define NAME_DIRECT(name) #name,
#define NAME(result, name, parameters, arguments) #name,
    DIRECT(NAME_DIRECT) WATCHED(NAME)};

static _Thread_local int inside __attribute__((tls_model("initial-exec"))); /* this model never allocates on first use */
static atomic_long counts[KINDS], entries;

static inline void note(int kind)
{
    if (inside)
        atomic_fetch_add_explicit(&counts[kind], 1, memory_order_relaxed);
}

/* Find the C library's function. Old binaries' condition variables are still exported: ask for the present ones. */
static void *next(const char *name, void **slot)
{
    void *found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (found == NULL) {
        int was = inside;
        inside = 0; /* dlsym may allocate */
        found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
        if (found == NULL)
            found = dlsym(RTLD_NEXT, name);
        inside = was;
        __atomic_store_n(slot, found, __ATOMIC_RELEASE);
    }
    return found;
}

#define INTERPOSE(result, name, parameters, arguments)                 \
    result name parameters                                             \
    {                                                                  \
        static void *slot;                                             \
        note(K_##name);                                                \
        return ((result(*) parameters)next(#name, &slot)) arguments;   \
    }
WATCHED(INTERPOSE)

/* dlsym itself calls these, so they go straight to the C library. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

void *malloc(size_t size)
{
    note(K_malloc);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    note(K_calloc);
    return __libc_calloc(count, size);
}

void *realloc(void *at, size_t size)
{
    note(K_realloc);
    return __libc_realloc(at, size);
}

void free(void *at)
{
    note(K_free);
    __libc_free(at);
}

/* These take a variable number of arguments; passing on all that could be there does no harm. */
#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...)                          \
    {                                                                   \
        static void *slot;                                              \
        va_list list;                                                   \
        va_start(list, flags);                                          \
        mode_t mode = va_arg(list, mode_t);                             \
        va_end(list);                                                   \
        note(K_##name);                                                 \
        return ((int (*)(const char *, int, ...))next(#name, &slot))(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int openat(int folder, const char *path, int flags, ...)
{
    static void *slot;
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    note(K_openat);
    return ((int (*)(int, const char *, int, ...))next("openat", &slot))(folder, path, flags, mode);
}

long syscall(long number, ...) /* futex among them */
{
    static void *slot;
    long a[6];
    va_list list;
    va_start(list, number);
    for (int k = 0; k < 6; k++)
        a[k] = va_arg(list, long);
    va_end(list);
    note(K_syscall);
    return ((long (*)(long, ...))next("syscall", &slot))(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

__attribute__((constructor)) static void resolve(void)
{
    static void *unused; /* bind the loader's own tables early, on the main thread */
    next("nanosleep", &unused);
}

void rt_enter(void)
{
    inside = 1;
    atomic_fetch_add_explicit(&entries, 1, memory_order_relaxed);
}

void rt_exit(void)
{
    inside = 0;
}

long rt_entries(void)
{
    return atomic_load(&entries);
}

int rt_kinds(void)
{
    return KINDS;
}

const char *rt_name(int kind)
{
    return names[kind];
}

long rt_count(int kind)
{
    return atomic_load(&counts[kind]);
}

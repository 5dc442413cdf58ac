// SPDX-License-Identifier: Apache-2.0
// Clocks, sleeps, interval timers, POSIX timers, CPU time.
#include "gt.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>

static volatile int seen, last, code, overrun, value;
static void on(int sig, siginfo_t *si, void *uc)
{
    seen++;
    last = sig;
    code = si->si_code;
    overrun = si->si_overrun;
    value = si->si_value.sival_int;
}
static void handle(int sig)
{
    struct sigaction sa = {.sa_sigaction = on, .sa_flags = SA_SIGINFO};
    sigaction(sig, &sa, 0);
}
static int64_t now(int clock)
{
    struct timespec t;
    GT_OK(clock_gettime(clock, &t));
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static void burn(int ms)
{
    int64_t end = now(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000ll;
    while (now(CLOCK_THREAD_CPUTIME_ID) < end)
        ;
}

GT(clock_all)
{
    struct timespec t;
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
                    CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
    for (unsigned i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
        GT_OK(syscall(SYS_clock_gettime, clocks[i], &t));
        GT_TRUE(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
        GT_OK(syscall(SYS_clock_getres, clocks[i], &t));
        GT_TRUE(t.tv_sec == 0 && t.tv_nsec > 0);
        GT_OK(syscall(SYS_clock_getres, clocks[i], 0));
    }
    GT_ERR(syscall(SYS_clock_gettime, 99, &t), EINVAL);
    GT_ERR(syscall(SYS_clock_getres, 99, &t), EINVAL);
    GT_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
    GT_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8), EFAULT);
    int64_t a = now(CLOCK_MONOTONIC), b = now(CLOCK_MONOTONIC);
    GT_TRUE(b >= a);
    struct timeval tv;
    GT_OK(syscall(SYS_gettimeofday, &tv, 0));
    GT_TRUE(llabs((long long)tv.tv_sec - now(CLOCK_REALTIME) / 1000000000) <= 1);
    GT_TRUE(llabs((long long)syscall(SYS_time, 0) - tv.tv_sec) <= 1);
}

GT(clock_vdso_and_call_agree)
{
    for (int i = 0; i < 200; i++) {
        struct timespec a, b, c;
        clock_gettime(CLOCK_MONOTONIC, &a);
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
        clock_gettime(CLOCK_MONOTONIC, &c);
        GT_TRUE(a.tv_sec * 1000000000ll + a.tv_nsec <= b.tv_sec * 1000000000ll + b.tv_nsec);
        GT_TRUE(b.tv_sec * 1000000000ll + b.tv_nsec <= c.tv_sec * 1000000000ll + c.tv_nsec);
    }
}

GT(sleep_lengths)
{
    int64_t t0 = now(CLOCK_MONOTONIC);
    struct timespec t = {0, 20000000};
    GT_OK(nanosleep(&t, 0));
    GT_TRUE(now(CLOCK_MONOTONIC) - t0 >= 20000000);
    t0 = now(CLOCK_MONOTONIC) + 20000000;
    t = (struct timespec){t0 / 1000000000, t0 % 1000000000};
    GT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0), 0);
    GT_TRUE(now(CLOCK_MONOTONIC) >= t0);
    t = (struct timespec){0, 1000000000};
    GT_ERR(nanosleep(&t, 0), EINVAL);
    t = (struct timespec){-1, 0};
    GT_ERR(nanosleep(&t, 0), EINVAL);
    GT_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, 0), EINVAL);
    t = (struct timespec){0, 1};
    GT_EQ(clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &t, 0), EOPNOTSUPP);
    GT_EQ(clock_nanosleep(77, 0, &t, 0), EINVAL);
}

GT(alarm_basic)
{
    GT_EQ(alarm(0), gtalarm()); // the harness's
    handle(SIGALRM);
    GT_EQ(alarm(10), 0);
    GT_EQ(alarm(1), 10);
    pause();
    GT_EQ(seen, 1);
    GT_EQ(code, SI_KERNEL);
    GT_EQ(alarm(0), 0);
}

GT(itimer_real_periodic)
{
    handle(SIGALRM);
    struct itimerval it = {{0, 10000}, {0, 10000}}, o;
    GT_OK(setitimer(ITIMER_REAL, &it, &o));
    GT_TRUE(o.it_value.tv_sec >= 28);
    for (int i = 0; i < 5; i++)
        pause();
    GT_TRUE(seen >= 5);
    GT_OK(getitimer(ITIMER_REAL, &o));
    GT_EQ(o.it_interval.tv_usec, 10000);
    GT_TRUE(o.it_value.tv_usec <= 10000 && o.it_value.tv_usec > 0);
    memset(&it, 0, sizeof(it));
    GT_OK(setitimer(ITIMER_REAL, &it, &o));
    seen = 0;
    usleep(30000);
    GT_EQ(seen, 0);
    it.it_value.tv_usec = 1000000;
    GT_ERR(setitimer(ITIMER_REAL, &it, 0), EINVAL);
    it.it_value.tv_usec = -1;
    GT_ERR(setitimer(ITIMER_REAL, &it, 0), EINVAL);
    GT_ERR(syscall(SYS_setitimer, 3, &it, 0), EINVAL);
    GT_ERR(syscall(SYS_getitimer, -1, &it), EINVAL);
}

// Shorter than a delivery takes: a slow machine may run nothing but the handler.
static volatile int64_t storm_end;
static void on_storm(int sig)
{
    struct itimerval off = {0};
    seen++;
    if (now(CLOCK_MONOTONIC) > storm_end)
        setitimer(ITIMER_REAL, &off, 0);
}
GT(itimer_real_tiny_interval)
{
    signal(SIGALRM, on_storm);
    struct itimerval it = {{0, 1}, {0, 1}};
    storm_end = now(CLOCK_MONOTONIC) + 50000000;
    setitimer(ITIMER_REAL, &it, 0);
    while (now(CLOCK_MONOTONIC) < storm_end + 1000000)
        ;
    GT_TRUE(seen > 2); // an emulated CPU takes milliseconds for each
}

GT(itimer_virtual_prof)
{
    handle(SIGVTALRM);
    handle(SIGPROF);
    struct itimerval it = {{0, 0}, {0, 30000}};
    GT_OK(setitimer(ITIMER_VIRTUAL, &it, 0));
    usleep(60000); // no CPU time passes
    GT_EQ(seen, 0);
    int64_t end = now(CLOCK_MONOTONIC) + 10000000000ll;
    while (!seen && now(CLOCK_MONOTONIC) < end)
        ;
    GT_EQ(last, SIGVTALRM);
    GT_OK(setitimer(ITIMER_PROF, &it, 0));
    while (seen < 2 && now(CLOCK_MONOTONIC) < end)
        ;
    GT_EQ(last, SIGPROF);
}

GT(itimer_prof_periodic_profiler)
{
    handle(SIGPROF);
    struct itimerval it = {{0, 10000}, {0, 10000}};
    GT_OK(setitimer(ITIMER_PROF, &it, 0));
    burn(120);
    GT_TRUE(seen >= 4 && seen <= 20);
}

GT(cpu_clocks_advance)
{
    int64_t p = now(CLOCK_PROCESS_CPUTIME_ID), t = now(CLOCK_THREAD_CPUTIME_ID), m = now(CLOCK_MONOTONIC);
    usleep(50000);
    GT_TRUE(now(CLOCK_PROCESS_CPUTIME_ID) - p < 40000000);
    burn(30);
    GT_TRUE(now(CLOCK_PROCESS_CPUTIME_ID) - p >= 30000000);
    GT_TRUE(now(CLOCK_THREAD_CPUTIME_ID) - t >= 30000000);
    GT_TRUE(now(CLOCK_MONOTONIC) - m >= 80000000);
    struct rusage ru;
    GT_OK(getrusage(RUSAGE_SELF, &ru));
    GT_TRUE(ru.ru_utime.tv_sec * 1000000ll + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000ll +
            ru.ru_stime.tv_usec >= 25000);
    struct tms tm;
    GT_TRUE(times(&tm) > 0);
    GT_TRUE(tm.tms_utime + tm.tms_stime >= 2);
}

static void *burner(void *arg)
{
    burn(60);
    usleep(100000);
    return 0;
}

GT(cpu_clock_of_other_threads)
{
    pthread_t th;
    clockid_t c;
    GT_EQ(pthread_create(&th, 0, burner, 0), 0);
    GT_EQ(pthread_getcpuclockid(th, &c), 0);
    int64_t a = now(c), end = now(CLOCK_MONOTONIC) + 5000000000ll;
    while (now(c) - a < 30000000 && now(CLOCK_MONOTONIC) < end)
        usleep(1000);
    GT_TRUE(now(c) - a >= 30000000);
    GT_TRUE(now(CLOCK_THREAD_CPUTIME_ID) < 1000000000);
    GT_TRUE(now(CLOCK_PROCESS_CPUTIME_ID) >= 30000000);
    pthread_join(th, 0);
}

GT(cpu_clock_of_process)
{
    clockid_t c;
    GT_EQ(clock_getcpuclockid(0, &c), 0);
    GT_TRUE(now(c) >= 0);
    pid_t p = fork();
    if (!p) {
        for (;;)
            ;
    }
    GT_EQ(clock_getcpuclockid(p, &c), 0);
    usleep(60000);
    int64_t a = now(c);
    kill(p, SIGKILL);
    wait(0);
    GT_TRUE(a > 0);
    GT_EQ(clock_getcpuclockid(4000000, &c), ESRCH);
}

static timer_t make(int clock, int notify, int sig, int v)
{
    struct sigevent e = {.sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = v};
    timer_t t;
    GT_OK(timer_create(clock, &e, &t));
    return t;
}

GT(ptimer_oneshot)
{
    handle(SIGUSR1);
    timer_t t = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 77);
    struct itimerspec s = {{0, 0}, {0, 20000000}}, o;
    GT_OK(timer_settime(t, 0, &s, &o));
    GT_EQ(o.it_value.tv_nsec, 0);
    GT_OK(timer_gettime(t, &o));
    GT_TRUE(o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 20000000);
    pause();
    GT_EQ(seen, 1);
    GT_EQ(code, SI_TIMER);
    GT_EQ(value, 77);
    GT_OK(timer_gettime(t, &o));
    GT_EQ(o.it_value.tv_nsec, 0);
    GT_OK(timer_delete(t));
    GT_ERR(syscall(SYS_timer_delete, 12345), EINVAL);
    GT_ERR(syscall(SYS_timer_gettime, 12345, &o), EINVAL);
}

GT(ptimer_overrun)
{
    handle(SIGUSR1);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigprocmask(SIG_BLOCK, &s, 0);
    timer_t t = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 1);
    struct itimerspec it = {{0, 5000000}, {0, 5000000}};
    GT_OK(timer_settime(t, 0, &it, 0));
    usleep(60000);
    siginfo_t si;
    GT_EQ(sigwaitinfo(&s, &si), SIGUSR1);
    GT_TRUE(si.si_overrun >= 9);
    GT_EQ(timer_getoverrun(t), si.si_overrun);
    GT_EQ(sigwaitinfo(&s, &si), SIGUSR1); // and goes on
    GT_TRUE(si.si_overrun < 5);
}

GT(ptimer_absolute_and_past)
{
    handle(SIGUSR1);
    timer_t t = make(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 1);
    int64_t at = now(CLOCK_REALTIME) + 20000000;
    struct itimerspec s = {{0, 0}, {at / 1000000000, at % 1000000000}};
    GT_OK(timer_settime(t, TIMER_ABSTIME, &s, 0));
    pause();
    GT_TRUE(now(CLOCK_REALTIME) >= at);
    s.it_value = (struct timespec){1, 0};
    GT_OK(timer_settime(t, TIMER_ABSTIME, &s, 0)); // long ago: at once
    for (int i = 0; i < 1000 && seen < 2; i++)
        usleep(1000);
    GT_EQ(seen, 2);
}

GT(ptimer_none)
{
    timer_t t = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    struct itimerspec s = {{0, 0}, {0, 30000000}}, o;
    GT_OK(timer_settime(t, 0, &s, 0));
    GT_OK(timer_gettime(t, &o));
    GT_TRUE(o.it_value.tv_nsec > 0);
    usleep(50000);
    GT_OK(timer_gettime(t, &o));
    GT_EQ(o.it_value.tv_nsec, 0);
    s.it_interval = (struct timespec){0, 20000000};
    GT_OK(timer_settime(t, 0, &s, 0));
    usleep(100000);
    GT_OK(timer_gettime(t, &o));
    GT_TRUE(o.it_value.tv_nsec > 0 && o.it_value.tv_nsec <= 20000000);
}

static volatile int handler_tid;
static void note(int sig)
{
    handler_tid = (int)syscall(SYS_gettid);
}

GT(ptimer_thread_id)
{
    signal(SIGUSR1, note);
    struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    e._sigev_un._tid = (int)syscall(SYS_gettid);
    timer_t t;
    GT_OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 10000000}};
    GT_OK(timer_settime(t, 0, &s, 0));
    pause();
    GT_EQ(handler_tid, syscall(SYS_gettid));
    e._sigev_un._tid = 1 + getppid() * 0 + 4000000;
    GT_ERR(timer_create(CLOCK_MONOTONIC, &e, &t), EINVAL);
}

static volatile int thread_fired;
static void in_thread(union sigval v)
{
    thread_fired = v.sival_int;
}

GT(ptimer_sigev_thread)
{
    struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = in_thread, .sigev_value.sival_int = 6};
    timer_t t;
    GT_OK(timer_create(CLOCK_MONOTONIC, &e, &t));
    struct itimerspec s = {{0, 0}, {0, 10000000}};
    GT_OK(timer_settime(t, 0, &s, 0));
    for (int i = 0; i < 2000 && !thread_fired; i++)
        usleep(1000);
    GT_EQ(thread_fired, 6);
}

GT(ptimer_cpu)
{
    handle(SIGUSR1);
    timer_t t = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 1);
    struct itimerspec s = {{0, 0}, {0, 30000000}};
    int64_t begun = now(CLOCK_PROCESS_CPUTIME_ID);
    GT_OK(timer_settime(t, 0, &s, 0));
    usleep(60000);
    int fired = seen;
    if (now(CLOCK_PROCESS_CPUTIME_ID) - begun < 30000000) // on a slow machine the calls alone take it
        GT_EQ(fired, 0);
    int64_t end = now(CLOCK_MONOTONIC) + 10000000000ll;
    while (!seen && now(CLOCK_MONOTONIC) < end)
        ;
    GT_EQ(seen, 1);
}

GT(ptimer_errors)
{
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    timer_t t;
    int id;
    GT_ERR(timer_create(CLOCK_MONOTONIC, &e, &t), EINVAL);
    e = (struct sigevent){.sigev_notify = 77, .sigev_signo = 10};
    GT_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id), EINVAL);
    GT_ERR(syscall(SYS_timer_create, 99, 0, &id), EINVAL);
    GT_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &id), EFAULT);
    GT_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, 8), EFAULT);
    GT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id));
    struct itimerspec s = {{0, 0}, {0, 1000000000}};
    GT_ERR(syscall(SYS_timer_settime, id, 0, &s, 0), EINVAL);
    GT_ERR(syscall(SYS_timer_settime, id, 0, 0, 0), EINVAL);
    GT_OK(syscall(SYS_timer_delete, id));
    GT_ERR(syscall(SYS_timer_delete, id), EINVAL);
}

GT(ptimer_not_inherited)
{
    int id;
    GT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, &id));
    pid_t p = fork();
    if (!p) {
        struct itimerspec o;
        _exit(syscall(SYS_timer_gettime, id, &o) == -1 && errno == EINVAL ? 0 : 1);
    }
    int st;
    waitpid(p, &st, 0);
    GT_EQ(st, 0);
}

GT(rlimit_cpu_signal)
{
    pid_t p = fork();
    if (!p) {
        struct rlimit r = {1, 2};
        setrlimit(RLIMIT_CPU, &r);
        for (;;)
            ;
    }
    int st;
    waitpid(p, &st, 0);
    GT_TRUE(WIFSIGNALED(st));
    GT_EQ(WTERMSIG(st), SIGXCPU);
}
GT_MAIN

#include "cache.hpp"
#include "json.hpp"
#include "mutate.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <poll.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace horos::proofs {

namespace {

struct Worker {
    pid_t pid;
    int pipe;
    size_t theorem;
    std::string text;
};

[[noreturn]] void child(Bitcode& bitcode, const Theorem& theorem, const Options& options, int out) {
    Result result;
    try {
        Settings settings;
        settings.limits.milliseconds = options.query_timeout * 1000;
        if (options.mutant.empty())
            settings.limits.last = 4 * settings.limits.milliseconds;
        settings.first_refutation = !options.mutant.empty();
        result = theorem.prove(bitcode, settings);
    } catch (const std::exception& e) {
        result = {};
        result.details.push_back(std::string("not modelled: ") + e.what());
    }
    if (std::getenv("HOROS_PROVE_EFFORT") != nullptr) {
        const Effort& e = effort();
        std::fprintf(stderr,
                     "%s: %u checks %.1f s (%u out of time), asserting %.1f s, evaluating %.1f s, "
                     "instantiating %.1f s\n",
                     theorem.name.c_str(), e.checks, e.solving, e.timeouts, e.asserting,
                     e.evaluating, e.instantiating);
    }
    const std::string text = to_json(result);
    for (size_t at = 0; at < text.size();) {
        const ssize_t n = write(out, text.data() + at, text.size() - at);
        if (n <= 0)
            break;
        at += static_cast<size_t>(n);
    }
    std::fflush(nullptr);
    _exit(0);
}

Worker start(Bitcode& bitcode, const Theorem& theorem, size_t index, const Options& options) {
    int ends[2];
    if (pipe(ends) != 0)
        throw std::runtime_error("no pipe");
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid < 0)
        throw std::runtime_error("no process");
    if (pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL); // none goes on when the run is stopped
        child(bitcode, theorem, options, ends[1]);
    }
    close(ends[1]);
    return {pid, ends[0], index, ""};
}

// Of the processor, so that a verdict does not depend on what else the machine does.
double processor_seconds(pid_t pid) {
    clockid_t clock = 0;
    timespec t{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double processor_seconds_of(const rusage& usage) {
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void progress(size_t done, size_t all, const std::string& name) {
    if (isatty(2))
        std::fprintf(stderr, "\r\033[K%zu/%zu %s", done, all, name.c_str());
}

} // namespace

// "A,B": one of them is in the name; "A$": the name ends with it.
static bool has(const std::string& name, const std::string& pattern) {
    if (pattern.ends_with('$'))
        return name.ends_with(pattern.substr(0, pattern.size() - 1));
    return !pattern.empty() && name.find(pattern) != std::string::npos;
}

static bool matches(const std::string& name, const std::string& patterns) {
    std::istringstream in(patterns);
    bool any = patterns.empty();
    for (std::string one; std::getline(in, one, ',');)
        any = any || has(name, one);
    return any;
}

std::vector<Theorem> all_theorems(const Bitcode& bitcode, const Options& options) {
    std::vector<Theorem> chosen;
    for (const auto& group : theorem_groups()) {
        for (Theorem& t : group(bitcode)) {
            if (matches(t.name, options.only))
                chosen.push_back(std::move(t));
        }
    }
    return chosen;
}

namespace {

// What came of a process that is over, or that was stopped.
void collect(const Worker& w, double seconds, const Options& options, Outcomes& o) {
    int status = 0;
    rusage usage{};
    wait4(w.pid, &status, 0, &usage);
    close(w.pipe);
    double ignored_seconds = 0;
    long ignored_size = 0;
    if (!from_json(w.text, o.result, ignored_seconds, ignored_size)) {
        o.result = {};
        o.result.details.push_back(seconds > options.timeout ? out_of_time : "the prover crashed");
    }
    o.seconds = std::max(seconds, processor_seconds_of(usage));
    o.megabytes = usage.ru_maxrss / 1024;
}

// True when the process is over; reads what it has written.
bool is_over(Worker& w, short events, double seconds, const Options& options) {
    if ((events & (POLLIN | POLLHUP)) != 0) {
        char buffer[65536];
        const ssize_t n = read(w.pipe, buffer, sizeof buffer);
        if (n > 0)
            w.text.append(buffer, static_cast<size_t>(n));
        return n <= 0;
    }
    if (seconds <= options.timeout)
        return false;
    kill(w.pid, SIGKILL);
    w.text.clear();
    return true;
}

// The longest first, so that no long one is left for the end: what runs more code takes longer.
std::vector<size_t> longest_first(const Bitcode& bitcode, const std::vector<Theorem>& theorems,
                                  std::vector<size_t> waiting) {
    if (waiting.size() < 2)
        return waiting;
    const std::map<std::string, size_t> sizes = sizes_of_entries(bitcode);
    const auto size = [&](size_t i) {
        const std::string& name = theorems[i].name;
        const auto at = sizes.find(name.substr(name.find('/') + 1));
        return at == sizes.end() ? SIZE_MAX : at->second; // of a group's own: guard/refusal
    };
    std::sort(waiting.begin(), waiting.end(),
              [&](size_t a, size_t b) { return size(a) != size(b) ? size(a) > size(b) : a < b; });
    return waiting;
}

} // namespace

std::vector<Outcomes> run_all(Bitcode& bitcode, const std::vector<Theorem>& theorems,
                              const Options& options,
                              const std::function<void(const Outcomes&)>& when_done) {
    std::vector<Outcomes> all(theorems.size());
    const Cache cache(options);
    std::vector<size_t> waiting;
    for (size_t i = 0; i < theorems.size(); ++i) {
        all[i].name = theorems[i].name;
        all[i].group = theorems[i].group;
        all[i].says = theorems[i].says;
        if (!cache.read(all[i]))
            waiting.push_back(i);
    }
    waiting = longest_first(bitcode, theorems, waiting);
    std::vector<Worker> workers;
    size_t next = 0;
    size_t done = theorems.size() - waiting.size();
    while (next < waiting.size() || !workers.empty()) {
        while (next < waiting.size() && workers.size() < options.jobs) {
            const size_t index = waiting[next++];
            workers.push_back(start(bitcode, theorems[index], index, options));
        }
        std::vector<pollfd> fds;
        for (const Worker& w : workers)
            fds.push_back({w.pipe, POLLIN, 0});
        poll(fds.data(), fds.size(), 200);
        for (size_t i = workers.size(); i-- > 0;) {
            Worker& w = workers[i];
            const double seconds = processor_seconds(w.pid);
            if (!is_over(w, fds[i].revents, seconds, options))
                continue;
            Outcomes& o = all[w.theorem];
            collect(w, seconds, options, o);
            cache.write(o);
            if (when_done)
                when_done(o);
            if (options.mutant.empty())
                progress(++done, theorems.size(), o.name);
            workers.erase(workers.begin() + static_cast<long>(i));
        }
    }
    if (isatty(2) && options.mutant.empty())
        std::fputs("\r\033[K", stderr);
    return all;
}

} // namespace horos::proofs

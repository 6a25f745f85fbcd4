#include "run.hpp"
#include "json.hpp"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <llvm/Support/SHA1.h>
#include <poll.h>
#include <sstream>
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

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

[[noreturn]] void child(Bitcode& bitcode, const Theorem& theorem, const Options& options, int out) {
    Result result;
    try {
        Settings settings;
        settings.limits.milliseconds = options.query_timeout * 1000;
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
        child(bitcode, theorem, options, ends[1]);
    }
    close(ends[1]);
    return {pid, ends[0], index, ""};
}

constexpr const char* out_of_time = "unknown: out of time";
bool gave_up(const Result& r) { return r.details.size() == 1 && r.details[0] == out_of_time; }

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

std::string cache_path(const Options& o, const std::string& key, const std::string& name) {
    std::string file = name;
    for (char& c : file) {
        if (c == '/')
            c = '_';
    }
    return o.cache + "/" + file + "-" + key;
}

// Everything that a result depends on.
std::string cache_key(const Options& o) {
    llvm::SHA1 hash;
    for (const std::string& path : {o.core, o.spec, std::string("/proc/self/exe")})
        hash.update(file_hash(path));
    hash.update(std::to_string(o.query_timeout));
    std::string hex;
    for (const uint8_t byte : hash.final()) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x", byte);
        hex += two;
    }
    return hex;
}

} // namespace

std::string file_hash(const std::string& path) {
    const std::string all = read_file(path);
    if (all.empty())
        return "-";
    llvm::SHA1 hash;
    hash.update(all);
    std::string hex;
    for (const uint8_t byte : hash.final()) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x", byte);
        hex += two;
    }
    return hex;
}

// "A,B": one of them is in the name.
static bool matches(const std::string& name, const std::string& patterns) {
    std::istringstream in(patterns);
    bool any = patterns.empty();
    for (std::string one; std::getline(in, one, ',');)
        any = any || (!one.empty() && name.find(one) != std::string::npos);
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

std::vector<Outcomes> run_all(Bitcode& bitcode, const std::vector<Theorem>& theorems,
                              const Options& options) {
    std::vector<Outcomes> all(theorems.size());
    const std::string key = options.cache.empty() ? "" : cache_key(options);
    std::vector<size_t> waiting;
    for (size_t i = 0; i < theorems.size(); ++i) {
        all[i].name = theorems[i].name;
        all[i].group = theorems[i].group;
        all[i].says = theorems[i].says;
        if (!key.empty()) {
            const std::string known = read_file(cache_path(options, key, theorems[i].name));
            double seconds = 0;
            long megabytes = 0;
            if (!known.empty() && from_json(known, all[i].result, seconds, megabytes) &&
                (!gave_up(all[i].result) || seconds + 1 > options.timeout)) {
                all[i].cached = true;
                all[i].seconds = seconds;
                all[i].megabytes = megabytes;
                continue;
            }
        }
        all[i].result = {};
        waiting.push_back(i);
    }
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
            bool over = false;
            if ((fds[i].revents & (POLLIN | POLLHUP)) != 0) {
                char buffer[65536];
                const ssize_t n = read(w.pipe, buffer, sizeof buffer);
                if (n > 0)
                    w.text.append(buffer, static_cast<size_t>(n));
                else
                    over = true;
            } else if (seconds > options.timeout) {
                kill(w.pid, SIGKILL);
                w.text.clear();
                over = true;
            }
            if (!over)
                continue;
            int status = 0;
            rusage usage{};
            wait4(w.pid, &status, 0, &usage);
            close(w.pipe);
            Outcomes& o = all[w.theorem];
            double ignored_seconds = 0;
            long ignored_size = 0;
            if (!from_json(w.text, o.result, ignored_seconds, ignored_size)) {
                o.result = {};
                o.result.details.push_back(seconds > options.timeout ? out_of_time
                                                                     : "the prover crashed");
            }
            o.seconds = std::max(seconds, processor_seconds_of(usage));
            o.megabytes = usage.ru_maxrss / 1024;
            if (!key.empty() && (!w.text.empty() || gave_up(o.result))) {
                std::ofstream cache(cache_path(options, key, o.name));
                cache << to_json(o.result, o.seconds, o.megabytes);
            }
            progress(++done, theorems.size(), o.name);
            workers.erase(workers.begin() + static_cast<long>(i));
        }
    }
    if (isatty(2))
        std::fputs("\r\033[K", stderr);
    return all;
}

} // namespace horos::proofs

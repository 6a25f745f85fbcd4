// horos-bochs: boots Horos in Bochs with COM1 on this program's input and output. Bochs wants a
// terminal device for a serial line and ends with status 1 whatever happened; this program gives it
// a pseudo-terminal, and tells how the run ended: 0 the machine was switched off, 1 anything else.
#include "bochs.hpp"
#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <poll.h>
#include <stdexcept>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace {

using namespace horos::machine;
using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t interrupted = 0;
void note_signal(int number) { interrupted = number; }

struct Terminal {
    int master = -1;
    int slave = -1; // held open, so that the master never sees an end
    std::string name;
};

Terminal open_terminal() {
    Terminal t;
    t.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (t.master < 0 || grantpt(t.master) != 0 || unlockpt(t.master) != 0)
        throw std::runtime_error("no pseudo-terminal to be had");
    t.name = ptsname(t.master);
    t.slave = open(t.name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    termios mode{};
    tcgetattr(t.slave, &mode);
    cfmakeraw(&mode);
    tcsetattr(t.slave, TCSANOW, &mode);
    return t;
}

// The user's terminal, raw while the guest has it.
struct RawInput {
    termios before{};
    bool is_terminal = false;
    RawInput() {
        is_terminal = tcgetattr(0, &before) == 0;
        if (!is_terminal)
            return;
        termios raw = before;
        cfmakeraw(&raw);
        raw.c_oflag |= OPOST;
        tcsetattr(0, TCSANOW, &raw);
    }
    ~RawInput() {
        if (is_terminal)
            tcsetattr(0, TCSANOW, &before);
    }
};

pid_t start(const std::string& directory, const std::string& configuration) {
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); // Bochs does not outlive this program
    const std::string debugger = directory + "/debugger", output = directory + "/output";
    const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, 0);
    dup2(file, 1);
    dup2(file, 2);
    execlp("bochs-bin", "bochs-bin", "-q", "-f", configuration.c_str(), "-rc", debugger.c_str(),
           nullptr);
    _exit(127);
}

bool file_has(const std::string& path, const std::string& text) {
    std::ifstream file(path, std::ios::binary);
    const std::string all(std::istreambuf_iterator<char>(file), {});
    return all.find(text) != std::string::npos;
}

void copy(int from, int to, bool& open) {
    char buffer[4096];
    const ssize_t size = read(from, buffer, sizeof buffer);
    open = size > 0;
    for (ssize_t at = 0; at < size;) {
        const ssize_t done = write(to, buffer + at, static_cast<size_t>(size - at));
        if (done <= 0)
            return;
        at += done;
    }
}

// Ctrl-A X ends the run, as in QEMU.
bool copy_input(int to, bool& open, bool& escape) {
    char buffer[256];
    const ssize_t size = read(0, buffer, sizeof buffer);
    open = size > 0;
    for (ssize_t i = 0; i < size; ++i) {
        if (escape && (buffer[i] == 'x' || buffer[i] == 'X'))
            return true;
        escape = !escape && buffer[i] == 1;
        if (!escape && write(to, buffer + i, 1) != 1)
            open = false;
    }
    return false;
}

enum class Ending { off, fatal, timeout, user, failed };

constexpr char fatal_mark[] = "horos: fatal:";

Ending how_it_ended(const BochsOptions& o) {
    if (file_has(o.log, fatal_mark))
        return Ending::fatal;
    return file_has(o.directory + "/events", "soft power off") ? Ending::off : Ending::failed;
}

struct Lines {
    Terminal terminal; // COM1
    Terminal log;      // COM2: a file that Bochs writes itself would be late
    int log_file;
};

Ending follow(pid_t pid, const Lines& lines, const BochsOptions& o, unsigned limit) {
    const Clock::time_point start = Clock::now();
    bool input = true, output = true, escape = false;
    for (;;) {
        pollfd entries[] = {{lines.terminal.master, POLLIN, 0},
                            {lines.log.master, POLLIN, 0},
                            {input ? 0 : -1, POLLIN, 0}};
        poll(entries, 3, 200);
        if (entries[0].revents & POLLIN)
            copy(lines.terminal.master, 1, output);
        if (entries[1].revents & POLLIN) {
            copy(lines.log.master, lines.log_file, output);
            if (file_has(o.log, fatal_mark)) { // the processors are halted for good
                poll(nullptr, 0, 300);         // the rest of the line
                copy(lines.log.master, lines.log_file, output);
                return Ending::fatal;
            }
        }
        if ((entries[0].revents | entries[1].revents) & POLLIN)
            continue;
        if (waitpid(pid, nullptr, WNOHANG) == pid)
            return how_it_ended(o);
        if (entries[2].revents & (POLLIN | POLLHUP) &&
            copy_input(lines.terminal.master, input, escape))
            return Ending::user;
        if (interrupted)
            return Ending::user;
        if (limit != 0 && Clock::now() - start > std::chrono::seconds(limit))
            return Ending::timeout;
    }
}

int tell(Ending ending, const BochsOptions& o) {
    switch (ending) {
    case Ending::off:
        return 0;
    case Ending::user:
        std::cerr << "horos-bochs: ended by the user\n";
        return interrupted ? 128 + interrupted : 0;
    case Ending::timeout:
        std::cerr << "horos-bochs: the time is over\n";
        return 124;
    case Ending::fatal:
        std::cerr << "horos-bochs: Horos could not go on (see " << o.log << ")\n";
        return 1;
    case Ending::failed:
        std::cerr << "horos-bochs: Bochs ended without a power-off (see " << o.directory
                  << "/events and output)\n";
        return 1;
    }
    return 1;
}

int run(BochsOptions& o, unsigned limit) {
    const int log = open(o.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log < 0)
        throw std::runtime_error("cannot write " + o.log);
    const Lines lines{open_terminal(), open_terminal(), log};
    o.terminal = lines.terminal.name;
    o.log_terminal = lines.log.name;
    const std::string configuration = prepare_bochs(o);
    std::signal(SIGINT, note_signal);
    std::signal(SIGTERM, note_signal);
    std::signal(SIGHUP, note_signal);
    std::signal(SIGPIPE, SIG_IGN);
    const pid_t pid = start(o.directory, configuration);
    if (pid < 0)
        throw std::runtime_error("cannot start Bochs");
    Ending ending;
    {
        const RawInput raw;
        ending = follow(pid, lines, o, limit);
    }
    if (ending == Ending::fatal || ending == Ending::timeout || ending == Ending::user) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    return tell(ending, o);
}

} // namespace

int main(int count, char** words) {
    CLI::App app{"Boots Horos in Bochs"};
    BochsOptions o;
    unsigned limit = 0;
    app.add_option("--iso", o.iso, "ISO image to boot")->required();
    app.add_option("--model", o.model, "processor (bochs --help cpu lists them)");
    app.add_option("--cores", o.cores, "processors")->check(CLI::Range(1, 8));
    app.add_option("--memory", o.memory_mib, "MiB")->check(CLI::Range(64, 2048));
    app.add_option("--mips", o.mips, "instructions in a microsecond of the guest's time")
        ->check(CLI::Range(1, 1000));
    app.add_option("--directory", o.directory, "for the files of this run")->required();
    app.add_option("--log", o.log, "file for COM2")->required();
    app.add_option("--timeout", limit, "seconds, 0 = none");
    CLI11_PARSE(app, count, words);
    try {
        std::filesystem::create_directories(o.directory);
        return run(o, limit);
    } catch (const std::exception& wrong) {
        std::cerr << "horos-bochs: error: " << wrong.what() << '\n';
        return 1;
    }
}

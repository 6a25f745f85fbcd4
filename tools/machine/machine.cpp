#include "machine.hpp"
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace horos::machine {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string tail(const std::string& text, std::size_t size) {
    return text.size() <= size ? text : text.substr(text.size() - size);
}

// horos-bochs has a Bochs with COM1 on its input and output.
std::vector<std::string> bochs_line(const MachineOptions& o, const std::string& directory) {
    return {HOROS_BOCHS,
            "--iso",
            o.cdrom,
            "--model",
            o.bochs,
            "--cores",
            std::to_string(o.cores),
            "--memory",
            std::to_string(o.memory_mib),
            "--directory",
            directory,
            "--log",
            directory + "/log"};
}

// The same machine as ./horos run.
std::vector<std::string> command_line(const MachineOptions& o, const std::string& directory) {
    if (!o.bochs.empty())
        return bochs_line(o, directory);
    std::vector<std::string> words = {"qemu-system-x86_64",
                                      "-M",
                                      "q35",
                                      "-accel",
                                      "tcg",
                                      "-cpu",
                                      "max,+svm",
                                      "-smp",
                                      std::to_string(o.cores),
                                      "-m",
                                      std::to_string(o.memory_mib),
                                      "-display",
                                      "none",
                                      "-nodefaults",
                                      "-no-reboot",
                                      "-serial",
                                      "stdio",
                                      "-serial",
                                      "file:" + directory + "/log",
                                      "-trace",
                                      "qemu_system_shutdown_request",
                                      "-D",
                                      directory + "/events"};
    if (!o.bundle.empty())
        words.insert(words.end(), {"-kernel", HOROS_KERNEL_IMAGE, "-initrd", o.bundle});
    if (!o.kernel.empty())
        words.insert(words.end(), {"-kernel", o.kernel, "-initrd", o.initrd});
    if (!o.append.empty())
        words.insert(words.end(), {"-append", o.append});
    if (!o.cdrom.empty())
        words.insert(words.end(), {"-cdrom", o.cdrom, "-boot", "d"});
    if (!o.firmware.empty())
        words.insert(words.end(), {"-bios", o.firmware});
    words.insert(words.end(), o.more.begin(), o.more.end());
    return words;
}

[[noreturn]] void run_child(const std::vector<std::string>& words, int in, int out) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // no machine outlives the test
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    std::vector<char*> arguments;
    for (const std::string& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
}

} // namespace

Machine::Machine(const MachineOptions& options)
    : directory_(std::string(HOROS_TEST_LOGS) + "/" + options.name) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    std::signal(SIGPIPE, SIG_IGN);
    int to[2];
    int from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        throw std::runtime_error("no pipe");
    const std::vector<std::string> words = command_line(options, directory_);
    pid_ = fork();
    if (pid_ == 0)
        run_child(words, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    to_ = to[1];
    from_ = from[0];
}

Machine::~Machine() {
    if (alive()) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    close(to_);
    close(from_);
    std::ofstream(directory_ + "/terminal") << terminal_;
}

bool Machine::alive() {
    if (pid_ < 0)
        return false;
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_)
        return true;
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    pid_ = -1;
    return false;
}

void Machine::read_terminal(milliseconds limit) {
    pollfd entry{from_, POLLIN, 0};
    if (poll(&entry, 1, static_cast<int>(limit.count())) <= 0)
        return;
    char buffer[4096];
    const ssize_t size = read(from_, buffer, sizeof buffer);
    if (size > 0)
        terminal_.append(buffer, static_cast<std::size_t>(size));
    else
        std::this_thread::sleep_for(limit); // the other end is closed: do not spin
}

bool Machine::expect(std::string_view text, std::chrono::seconds limit) {
    const Clock::time_point end = Clock::now() + limit;
    bool last = false;
    while (true) {
        const std::size_t at = terminal_.find(text, terminal_seen_);
        if (at != std::string::npos) {
            terminal_seen_ = at + text.size();
            return true;
        }
        if (last || Clock::now() >= end)
            return false;
        last = !alive();
        read_terminal(milliseconds(50));
    }
}

std::string Machine::log() const { return read_file(directory_ + "/log"); }

bool Machine::expect_log(std::string_view text, std::chrono::seconds limit) {
    const Clock::time_point end = Clock::now() + limit;
    bool last = false;
    while (log().find(text) == std::string::npos) {
        if (last || Clock::now() >= end)
            return false;
        last = !alive();
        read_terminal(milliseconds(50));
    }
    return true;
}

// In pieces, with time for the guest to take each: a UART has a FIFO of 16 bytes.
void Machine::type(std::string_view line) {
    const std::string text = std::string(line) + "\n";
    for (std::size_t i = 0; i < text.size(); i += 16) {
        const std::string piece = text.substr(i, 16);
        if (write(to_, piece.data(), piece.size()) < 0)
            return;
        read_terminal(milliseconds(20));
    }
}

std::string Machine::shell(std::string_view command, std::chrono::seconds limit, bool& ok) {
    const std::string number = std::to_string(++commands_);
    const std::size_t start = terminal_.size();
    // The marks are put together by the shell, so that the echo of the line does not show them.
    type(std::string(command) + "; echo E\"\"ND-" + number + "-$?-");
    ok = expect("END-" + number + "-0-", limit);
    const std::size_t end = std::min(terminal_.find("END-" + number, start), terminal_.size());
    const std::size_t first = std::min(terminal_.find('\n', start), end);
    return terminal_.substr(first, end - first);
}

int Machine::wait_exit(std::chrono::seconds limit) {
    const Clock::time_point end = Clock::now() + limit;
    while (alive()) {
        if (Clock::now() >= end)
            return -1;
        read_terminal(milliseconds(50));
    }
    read_terminal(milliseconds(10));
    return status_;
}

bool Machine::powered_off() const {
    const std::string events = read_file(directory_ + "/events");
    return events.find("reason=6") != std::string::npos ||     // QEMU
           events.find("soft power off") != std::string::npos; // Bochs
}

std::string Machine::tails() const {
    return "--- terminal\n" + tail(terminal_, 3000) + "\n--- log\n" + tail(log(), 6000) +
           "\n--- end (whole files in " + directory_ + ")\n";
}

} // namespace horos::machine

#include "process.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace horos::fuzz {

void Process::spawn(const std::vector<std::string>& arguments, const std::string& outputFile) {
    kill();
    std::vector<char*> argv;
    for (const auto& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    writeFile(outputFile, ""); // there from the start, for whoever looks into it
    pid_t parent = getpid();
    // Its other end closes when the program is there. Until then the child has a copy of our
    // memory, and whoever looks into it would find what we know of an earlier target.
    int loaded[2];
    if (pipe2(loaded, O_CLOEXEC) != 0)
        throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
    pid_ = fork();
    if (pid_ < 0) {
        const int error = errno;
        close(loaded[0]);
        close(loaded[1]);
        throw std::runtime_error(fmt::format("fork: {}", std::strerror(error)));
    }
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // never left behind
        if (getppid() != parent)
            _exit(127);
        setpgid(0, 0); // a Ctrl-C is for the fuzzer, which then stops us in order
        int null = open("/dev/null", O_RDONLY);
        int out = open(outputFile.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(null, 0);
        dup2(out, 1);
        dup2(out, 2);
        execvp(argv[0], argv.data());
        dprintf(2, "cannot run %s: %s\n", argv[0], std::strerror(errno));
        _exit(127);
    }
    close(loaded[1]);
    char none;
    while (read(loaded[0], &none, 1) < 0 && errno == EINTR) {
    }
    close(loaded[0]);
    ending_.clear();
}

void Process::reaped(int status) {
    ending_ = WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                                  : fmt::format("exited with status {}", WEXITSTATUS(status));
    pid_ = -1;
}

void Process::kill() {
    if (pid_ < 0)
        return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    if (waitpid(pid_, &status, 0) == pid_)
        reaped(status);
    pid_ = -1;
}

bool Process::alive() {
    if (pid_ < 0)
        return false;
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
        reaped(status);
        return false;
    }
    return true;
}

std::chrono::nanoseconds processorTime(pid_t pid) {
    clockid_t clock;
    timespec time{};
    if (pid < 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        return {};
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

bool anyThreadRuns(pid_t pid) {
    std::error_code error;
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
        std::ifstream in(task.path() / "stat");
        std::string text((std::istreambuf_iterator<char>(in)), {});
        auto name = text.rfind(')'); // the state follows the name
        if (name != std::string::npos && name + 2 < text.size() &&
            (text[name + 2] == 'R' || text[name + 2] == 'D'))
            return true;
    }
    return false;
}

ScratchDirectory::ScratchDirectory(const std::string& prefix) {
    std::string pattern = (std::filesystem::temp_directory_path() / (prefix + "XXXXXX")).string();
    if (!mkdtemp(pattern.data()))
        throw std::runtime_error(fmt::format("cannot make {}: {}", pattern, std::strerror(errno)));
    path_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string readFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in)
        throw std::runtime_error(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::string readFileIfThere(const std::string& path) {
    return access(path.c_str(), R_OK) == 0 ? readFile(path) : "";
}

void writeFile(const std::string& path, const std::string& content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(content.data(), std::streamsize(content.size()));
    out.close();
    if (!out)
        throw std::runtime_error(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

void requireWritable(const std::string& path) {
    if (path.empty() || path == "-")
        return;
    const bool there = access(path.c_str(), F_OK) == 0;
    std::ofstream out(path, std::ios::binary | std::ios::app);
    if (!out)
        throw std::runtime_error(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    out.close();
    if (!there)
        unlink(path.c_str());
}

} // namespace horos::fuzz

// A child process that dies with us, its output in a file.
#pragma once

#include <chrono>
#include <string>
#include <sys/types.h>
#include <vector>

namespace horos::fuzz {

class Process {
public:
    Process() = default;
    ~Process() { kill(); }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void spawn(const std::vector<std::string>& arguments, const std::string& outputFile);
    void kill();
    bool alive();
    pid_t pid() const { return pid_; }
    // How it ended, in words.
    const std::string& ending() const { return ending_; }

private:
    void reaped(int status);
    pid_t pid_ = -1;
    std::string ending_;
};

// The processor time that a process has used; 0 when it is gone.
std::chrono::nanoseconds processorTime(pid_t pid);
// Whether one of its threads runs or waits for a processor.
bool anyThreadRuns(pid_t pid);

// A directory of our own under /dev/shm or /tmp, removed at the end.
class ScratchDirectory {
public:
    explicit ScratchDirectory(const std::string& prefix);
    ~ScratchDirectory();
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

std::string readFile(const std::string& path);        // throws std::runtime_error
std::string readFileIfThere(const std::string& path); // "" when it cannot be read
void writeFile(const std::string& path, const std::string& content);
// Throws where writeFile would, before hours of work are lost; "" and "-" name no file. Leaves what
// the file holds, and makes none.
void requireWritable(const std::string& path);

} // namespace horos::fuzz

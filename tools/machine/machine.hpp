// One QEMU or Bochs process that boots a bundle, for the system tests and the benchmarks: its
// terminal (COM1) is read and written, its log (COM2) is followed in a file. Ends with the object,
// whatever happens.
#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace horos::machine {

struct MachineOptions {
    std::string bundle; // path; Horos boots it
    std::string kernel; // instead: another kernel, with its initrd
    std::string initrd;
    std::string cdrom;    // ISO image
    std::string firmware; // UEFI code image, for `cdrom`
    std::string append;   // kernel command line
    std::string bochs;    // processor model: `cdrom` boots in Bochs
    std::string name;     // of the kept log files
    unsigned cores = 2;
    unsigned memory_mib = 1024;
    std::vector<std::string> more; // further QEMU words
};

class Machine {
public:
    explicit Machine(const MachineOptions& options);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    // Waits until the terminal shows `text` past what was expected before. False when the time is
    // over or the machine ended.
    bool expect(std::string_view text, std::chrono::seconds limit);
    // Waits until the log has `text` somewhere.
    bool expect_log(std::string_view text, std::chrono::seconds limit);
    // Types a line.
    void type(std::string_view line);
    // Runs a shell command in the guest; gives back what it printed, without the command itself.
    // `ok` says whether it ended in time with status 0.
    std::string shell(std::string_view command, std::chrono::seconds limit, bool& ok);
    // Waits for the machine to end. Its exit status, -1 when the time is over.
    int wait_exit(std::chrono::seconds limit);
    // What the guest or Horos caused at the end: true for a power-off, false for a reset or crash.
    bool powered_off() const;

    std::string terminal() const { return terminal_; }
    std::string log() const;
    // Both logs' ends, for a failure message.
    std::string tails() const;

private:
    void read_terminal(std::chrono::milliseconds limit);
    bool alive();

    std::string directory_;
    std::string terminal_;
    std::size_t terminal_seen_ = 0;
    unsigned commands_ = 0;
    pid_t pid_ = -1;
    int status_ = -1;
    int to_ = -1;
    int from_ = -1;
};

} // namespace horos::machine

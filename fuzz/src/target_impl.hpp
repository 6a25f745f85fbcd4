// The two target drivers.
#pragma once

#include "horos/fuzz/target.hpp"
#include "process.hpp"

#include <memory>
#include <unordered_map>

namespace horos::fuzz {

// A loaded machine may take long over it.
inline constexpr std::chrono::seconds START_LIMIT{60};

// A memory file, mapped here and by the target.
class MemoryFile {
public:
    explicit MemoryFile(size_t size);
    ~MemoryFile();
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    int fd() const { return fd_; }
    std::string path() const; // for another process
    size_t size() const { return size_; }
    uint8_t* base() { return base_; }

private:
    int fd_ = -1;
    size_t size_;
    uint8_t* base_ = nullptr;
};

// Copies, but eight bytes at once: what the two sides tell each other by.
void readShared(const uint8_t* from, void* to, size_t size);
void writeShared(uint8_t* to, const void* from, size_t size);

// All of the target's RAM in a file.
class MappedMemory final : public Memory {
public:
    explicit MappedMemory(size_t size) : file(size) {}
    void read(uint64_t pa, void* to, size_t size) override {
        readShared(file.base() + pa, to, size);
    }
    void write(uint64_t pa, const void* from, size_t size) override {
        writeShared(file.base() + pa, from, size);
    }
    MemoryFile file;
};

// One QEMU process with its memory.
struct QemuInstance {
    ScratchDirectory scratch{"horos-fuzz-qemu-"};
    MappedMemory memory{wire::MEMORY_SIZE};
    Process process;
    QemuInstance(const std::string& rom, const std::string& cpu);
    bool ready();
    std::string log() const { return readFile(scratch.path() + "/log"); }
};

class QemuTarget final : public Target {
public:
    QemuTarget(std::string rom, std::string cpu)
        : rom_(std::move(rom)), cpu_(cpu.empty() ? "max,+svm" : std::move(cpu)) {}
    TargetKind kind() const override { return TargetKind::QemuSvm; }
    void start() override;
    void stop() override;
    Memory& memory() override { return current_->memory; }
    pid_t pid() const override { return current_ ? current_->process.pid() : -1; }
    std::string log() const override { return current_ ? current_->log() : ""; }
    bool alive() override { return current_ && current_->process.alive(); }

private:
    std::string rom_, cpu_;
    std::unique_ptr<QemuInstance> current_, spare_;
};

// RAM that lies in the file in pieces, as the target came to need it: the guest pages that matter
// are found by their marks.
class MarkedMemory final : public Memory {
public:
    explicit MarkedMemory(size_t size) : file(size) {}
    void read(uint64_t pa, void* to, size_t size) override;
    void write(uint64_t pa, const void* from, size_t size) override;
    // True when every page that we need was found.
    bool find();
    uint8_t* at(uint64_t pa, size_t& run); // `run`: in, out: bytes in one piece
    MemoryFile file;

private:
    std::unordered_map<uint64_t, uint8_t*> pages_; // by guest address
};

// One Bochs process; its memory can be had once the harness has marked its pages.
struct BochsInstance {
    static constexpr size_t RAM = size_t{40} << 20; // 32 MiB of guest memory, ROMs and alignment
    ScratchDirectory scratch{"horos-fuzz-bochs-"};
    MarkedMemory memory{RAM};
    Process process;
    explicit BochsInstance(const std::string& rom);
    bool ready();
    void park(); // when it is ready: an idle Bochs takes a whole processor
    void wake();
    std::string log() const;

private:
    bool found_ = false, parked_ = false;
};

class BochsTarget final : public Target {
public:
    explicit BochsTarget(std::string rom) : rom_(std::move(rom)) {}
    TargetKind kind() const override { return TargetKind::BochsSvm; }
    void start() override;
    void stop() override;
    Memory& memory() override { return current_->memory; }
    pid_t pid() const override { return current_ ? current_->process.pid() : -1; }
    std::string log() const override { return current_ ? current_->log() : ""; }
    bool alive() override;

private:
    std::string rom_;
    std::unique_ptr<BochsInstance> current_, spare_;
};

// The configuration that both the driver and a reproducer use.
std::string bochsConfiguration(const std::string& rom, const std::string& log);

} // namespace horos::fuzz

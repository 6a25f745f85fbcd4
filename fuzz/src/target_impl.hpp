// The two target drivers.
#pragma once

#include "horos/fuzz/target.hpp"
#include "process.hpp"

#include <memory>
#include <unordered_map>
#include <vector>

namespace horos::fuzz {

// A loaded machine may take long over it.
inline constexpr std::chrono::seconds START_LIMIT{60};

class MappedMemory final : public Memory {
public:
    explicit MappedMemory(size_t size);
    ~MappedMemory() override;
    void read(uint64_t pa, void* to, size_t size) override;
    void write(uint64_t pa, const void* from, size_t size) override;
    int fd() const { return fd_; }
    void* at(uint64_t pa) { return base_ + pa; }

private:
    int fd_ = -1;
    size_t size_;
    uint8_t* base_ = nullptr;
};

// One QEMU process with its memory.
struct QemuInstance {
    ScratchDirectory scratch{"horos-fuzz-qemu-"};
    MappedMemory memory{wire::MEMORY_SIZE};
    Process process;
    explicit QemuInstance(const std::string& rom);
    bool ready();
    std::string log() const { return readFile(scratch.path() + "/log"); }
};

class QemuTarget final : public Target {
public:
    explicit QemuTarget(std::string rom) : rom_(std::move(rom)) {}
    TargetKind kind() const override { return TargetKind::QemuSvm; }
    void start() override;
    void stop() override;
    Memory& memory() override { return current_->memory; }
    pid_t pid() const override { return current_ ? current_->process.pid() : -1; }
    std::string log() const override { return current_ ? current_->log() : ""; }
    bool alive() override { return current_ && current_->process.alive(); }
    bool memoryOutlivesIt() const override { return true; }

protected:
    wire::RingSlot* ring() override {
        return static_cast<wire::RingSlot*>(current_->memory.at(wire::RING_PA));
    }

private:
    std::string rom_;
    std::unique_ptr<QemuInstance> current_, spare_;
};

// Another process's memory, by process_vm_readv/writev, with guest pages found by their marks.
class ForeignMemory final : public Memory {
public:
    void read(uint64_t pa, void* to, size_t size) override;
    void write(uint64_t pa, const void* from, size_t size) override;
    // True when every page that we need was found in the process.
    bool find(pid_t pid);
    void forget();

private:
    uint64_t host(uint64_t pa, size_t& run) const;
    void copy(uint64_t pa, void* local, size_t size, bool writing);
    pid_t pid_ = -1;
    std::unordered_map<uint64_t, uint64_t> pages_; // guest page -> host address
};

// One Bochs process; its memory can be had once the harness has marked its pages.
struct BochsInstance {
    ScratchDirectory scratch{"horos-fuzz-bochs-"};
    ForeignMemory memory;
    Process process;
    explicit BochsInstance(const std::string& rom);
    bool ready();
    std::string log() const;
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
    bool alive() override { return current_ && current_->process.alive(); }
    bool memoryOutlivesIt() const override { return false; }

protected:
    wire::RingSlot* ring() override { return reinterpret_cast<wire::RingSlot*>(copy_.data()); }
    void ringOut(unsigned first, unsigned count) override;
    void ringIn(unsigned first, unsigned count) override;

private:
    std::string rom_;
    // Each access to another process is a system call: cases go over many at a time.
    std::vector<uint8_t> copy_ = std::vector<uint8_t>(wire::SLOTS * wire::SLOT_SIZE);
    // No spare: an idle Bochs takes a whole processor.
    std::unique_ptr<BochsInstance> current_;
};

// The configuration that both the driver and a reproducer use.
std::string bochsConfiguration(const std::string& rom, const std::string& log);

} // namespace horos::fuzz

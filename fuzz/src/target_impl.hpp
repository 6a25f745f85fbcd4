// The two target drivers.
#pragma once

#include "horos/fuzz/target.hpp"
#include "process.hpp"

#include <unordered_map>

namespace horos::fuzz {

class MappedMemory final : public Memory {
public:
    explicit MappedMemory(size_t size);
    ~MappedMemory() override;
    void read(uint64_t pa, void* to, size_t size) override;
    void write(uint64_t pa, const void* from, size_t size) override;
    int fd() const { return fd_; }

private:
    int fd_ = -1;
    size_t size_;
    uint8_t* base_ = nullptr;
};

class QemuTarget final : public Target {
public:
    explicit QemuTarget(std::string harness);
    TargetKind kind() const override { return TargetKind::QemuSvm; }
    void start() override;
    void stop() override;
    Memory& memory() override { return memory_; }
    pid_t pid() const override { return process_.pid(); }
    std::string log() const override;

protected:
    bool alive() override { return process_.alive(); }

private:
    std::string harness_;
    ScratchDirectory scratch_;
    MappedMemory memory_;
    Process process_;
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

class BochsTarget final : public Target {
public:
    explicit BochsTarget(std::string rom);
    TargetKind kind() const override { return TargetKind::BochsSvm; }
    void start() override;
    void stop() override;
    Memory& memory() override { return memory_; }
    pid_t pid() const override { return process_.pid(); }
    std::string log() const override;

protected:
    bool alive() override { return process_.alive(); }

private:
    std::string rom_;
    ScratchDirectory scratch_;
    ForeignMemory memory_;
    Process process_;
};

// The configuration that both the driver and a reproducer use.
std::string bochsConfiguration(const std::string& rom, const std::string& log);

} // namespace horos::fuzz

// One Bochs process that runs the VMX harness, and its shared block.
#pragma once

#include "process.hpp"
#include "wire.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

namespace horos::fuzz::vmx {

class TargetLost : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

std::string bochs_configuration(const std::string& rom, const std::string& cpu,
                                const std::string& log);
// The lists of fields where the harness wants them.
struct FieldLists;
Mailbox mailbox_of(const FieldLists& lists);

class Bochs {
public:
    explicit Bochs(std::string cpu_model) : cpu_(std::move(cpu_model)) {}
    void start(); // throws std::runtime_error: says why, with the log
    void stop() { instance_.reset(); }
    const HostValues& host() const { return host_; }
    unsigned starts() const { return starts_; }
    // The encodings that each case writes and reads, with the places of their values.
    void set_fields(const std::vector<uint16_t>& write, const std::vector<uint8_t>& write_slots,
                    const std::vector<uint16_t>& read, const std::vector<uint8_t>& read_slots);
    // Starts up to LANE_SLOTS cases in one of the two halves; take() waits for them and throws
    // TargetLost when the emulator panics or hangs.
    void post(unsigned lane, const std::vector<Case>& cases);
    std::vector<Result> take(unsigned lane);
    // Both, for any number of cases, in a half that is free.
    std::vector<Result> run(const std::vector<Case>& cases, unsigned lane = 0);

private:
    struct Instance {
        ScratchDirectory scratch{"horos-fuzz-vmx-"};
        Process process;
        uint64_t block = 0; // address of the shared block in the process
    };
    bool find_block();
    void send_fields();
    void wait(unsigned lane);
    [[noreturn]] void lost(bool late);
    void read(uint64_t offset, void* to, size_t size);
    void write(uint64_t offset, const void* from, size_t size);
    std::string log() const;

    std::string cpu_;
    std::unique_ptr<Instance> instance_;
    HostValues host_{};
    Mailbox fields_{};
    std::array<size_t, LANES> posted_{};
    std::vector<Slot> buffer_ = std::vector<Slot>(LANE_SLOTS);
    unsigned starts_ = 0;
};

} // namespace horos::fuzz::vmx

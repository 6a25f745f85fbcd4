// The local APIC of one virtual CPU (APM vol. 2 chapter 16): xAPIC registers, x2APIC mode, timer.
//
// Pure state, used by its virtual CPU's thread alone; what others send arrives through the
// ApicMailbox. Time is host TSC ticks, except the TSC deadline, which is the guest's TSC.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "devices/apic_address.hpp"
#include "devices/interrupt_message.hpp"
#include "devices/vector_set.hpp"
#include "ticks.hpp"

namespace horos::vmm {

// Register numbers: xAPIC offset / 16, which is x2APIC MSR - 800h.
enum class ApicRegister : u8 {
    id = 0x02,
    version = 0x03,
    task_priority = 0x08,
    arbitration_priority = 0x09,
    processor_priority = 0x0a,
    end_of_interrupt = 0x0b,
    logical_destination = 0x0d,
    destination_format = 0x0e,
    spurious = 0x0f,
    in_service = 0x10,   // eight registers
    trigger_mode = 0x18, // eight registers
    request = 0x20,      // eight registers
    error_status = 0x28,
    lvt_cmci = 0x2f,
    command = 0x30,
    command_high = 0x31,
    lvt_timer = 0x32,
    lvt_thermal = 0x33,
    lvt_performance = 0x34,
    lvt_lint0 = 0x35,
    lvt_lint1 = 0x36,
    lvt_error = 0x37,
    initial_count = 0x38,
    current_count = 0x39,
    divide = 0x3e,
    self_ipi = 0x3f, // x2APIC only
};

// What a register write asks of the rest of the machine.
struct ApicEffect {
    std::optional<InterruptMessage> message; // an interprocessor interrupt
    int broadcast_eoi = VectorSet::none;     // level-triggered vector whose service ended
    bool fault = false;                      // x2APIC: the access is #GP
};

class Lapic {
public:
    static constexpr u64 default_base = 0xfee00000;
    static constexpr u64 window_bytes = 0x1000;
    // IA32_APIC_BASE (APM vol. 2 §16.3.1).
    static constexpr u64 base_bsp = bit(8), base_x2apic = bit(10), base_enable = bit(11);

    Lapic(u32 id, bool bsp) : id_(id), base_(default_base | base_enable | (bsp ? base_bsp : 0)) {
        reset();
    }
    // State after INIT; the mode (IA32_APIC_BASE) stays.
    void reset();
    // Leaves it as PC firmware does: enabled, LINT0 passes the PIC's interrupts, LINT1 NMIs.
    void firmware_setup();

    u64 base() const { return base_; }
    bool set_base(u64 value); // false: #GP
    bool enabled() const { return (base_ & base_enable) != 0; }
    bool x2apic() const { return (base_ & base_x2apic) != 0; }
    u32 id() const { return id_; }

    // xAPIC window; offset is that of an aligned 32-bit access.
    u32 mmio_read(u32 offset, Ticks now);
    ApicEffect mmio_write(u32 offset, u32 value, Ticks now);
    // x2APIC MSRs 800h-8FFh; nullopt is #GP.
    std::optional<u64> msr_read(u32 msr, Ticks now);
    ApicEffect msr_write(u32 msr, u64 value, Ticks now);

    // The TSC deadline (MSR 6E0h) in guest TSC, and the guest's offset that makes it one.
    u64 tsc_deadline() const;
    void set_tsc_deadline(u64 guest_tsc);
    void set_tsc_offset(u64 offset) { tsc_offset_ = offset; }

    // Puts a vector into the IRR.
    void accept(u8 vector, bool level);
    void accept_from(u32 index, u64 bits, u64 level_bits); // 64 vectors at once
    void raise_error(u32 bits);

    // Fires the timer if its moment has come. The moment, in host TSC ticks.
    Ticks timer_deadline() const { return timer_deadline_; }
    void poll_timer(Ticks now) {
        if (now >= timer_deadline_)
            fire_timer(now);
    }

    // The vector to deliver next, or VectorSet::none. deliver() moves it into service.
    int pending() const;
    void deliver(u8 vector);
    // Ends the service of the highest vector; returns it if it was level-triggered.
    int end_of_interrupt();
    bool accepts_external() const; // LINT0 passes ExtINT
    bool lint1_nmi() const;

    u8 task_priority() const { return static_cast<u8>(task_priority_); }
    void set_task_priority_class(u8 cr8);
    void set_task_priority(u8 value) { task_priority_ = value; }
    // If this vector is delivered next, will nothing wait for its end? Then its EOI may be silent.
    bool eoi_could_be_silent(u8 vector) const;
    bool has_request() const { return !request_.empty(); }

    bool at_default() const { return (base_ & ~u64{0xfff}) == default_base; }

    // lapic_page.cpp: the registers in a page, the one at offset n in word n / 4.
    void write_registers(std::span<u32> page, Ticks now);
    // IRR, ISR and TPR, which change without an exit where the processor serves them.
    void write_vectors(std::span<u32> page) const;
    void take_vectors(std::span<const u32> page);
    u32 interrupt_status() const; // highest vector of the IRR, of the ISR in 15:8
    u64 level_triggered(u32 index) const { return trigger_.word64(index); }

    // What a sender needs to know to find this APIC.
    ApicAddress address() const {
        return {.id = id_,
                .enabled = enabled(),
                .x2apic = x2apic(),
                .flat = (destination_format_ >> 28) == 0xf,
                .logical_byte = static_cast<u8>(logical_destination_ >> 24)};
    }

private:
    static constexpr u32 lvt_count = 6;

    u32 read(ApicRegister reg, Ticks now) const;
    void write(ApicRegister reg, u64 value, Ticks now, ApicEffect& effect);
    void write_spurious(u32 value);
    void write_lvt(u32 index, u32 value, Ticks now);
    void write_command(u64 value, ApicEffect& effect);
    void start_count(Ticks now);
    u32 current_count(Ticks now) const;
    void fire_timer(Ticks now);
    void fire_lvt(u32 lvt);
    unsigned divide_shift() const;
    u8 processor_priority() const;
    bool software_enabled() const { return (spurious_ & 0x100) != 0; }
    u32 timer_mode() const { return (lvt_[0] >> 17) & 3; }

    VectorSet request_, service_, trigger_;
    u32 id_;
    u32 task_priority_ = 0;
    u64 base_;
    u32 spurious_ = 0xff;
    u32 logical_destination_ = 0, destination_format_ = ~u32{0};
    u32 error_status_ = 0, error_pending_ = 0;
    u64 command_ = 0;
    std::array<u32, lvt_count> lvt_{};
    u32 divide_ = 0, initial_count_ = 0;
    Ticks count_start_ = 0;
    u64 tsc_offset_ = 0;
    u64 tsc_deadline_ = 0;
    Ticks timer_deadline_ = never;
};

} // namespace horos::vmm

// One virtual CPU: its thread's loop, its exits, its local APIC and its private registers.
#pragma once

#include "emul/emulator.hpp"
#include "emul/fetch.hpp"
#include "run/machine.hpp"

namespace horos::vmm {

// An instruction without operands in its usual form, which needs no decoding: its bytes, first in
// the lowest.
struct Opcode {
    u32 bytes = 0;
    u32 mask = 0;
    u8 length = 0; // 0: no usual form
};

namespace opcode {
inline constexpr Opcode any{};
inline constexpr Opcode cpuid{0xa20f, 0xffff, 2}, rdmsr{0x320f, 0xffff, 2},
    wrmsr{0x300f, 0xffff, 2}, hlt{0xf4, 0xff, 1}, vmmcall{0xd9'010f, 0xff'ffff, 3},
    xsetbv{0xd1'010f, 0xff'ffff, 3};
} // namespace opcode

class Vcpu final : private MmioBus, private PortBus {
public:
    Vcpu(u32 index, abi::VcpuPage& page, Machine& machine);

    // Runs for ever; the boot processor from the state its page holds, the others after start-up.
    [[noreturn]] void loop();
    // One entry and its exit. For loop() and for tests.
    void step();

    Lapic& apic() { return apic_; }

private:
    using Gpr = abi::Gpr;
    enum class Power : u8 { running, halted, waiting_for_startup };
    enum class Offer : u8 { none, apic, external, processor }; // the last: it takes them by itself

    // vcpu.cpp: the way into the guest
    void round();
    [[gnu::noinline]] void prepare();
    void collect_mail();
    void offer_interrupt();
    [[gnu::noinline]] void interrupt_taken();
    [[gnu::noinline]] void replay_event();
    [[gnu::noinline]] void sleep();
    void set_deadline();
    void start_up(u8 page);

    // exits.cpp: the way out. The short ones become part of the loop, the others must not make it
    // keep more registers.
    void dispatch(abi::ExitReason reason);
    [[gnu::noinline]] void dispatch_others(abi::ExitReason reason);
    void exit_cpuid();
    void exit_io();
    [[gnu::noinline]] void exit_string_io();
    [[gnu::noinline]] void exit_memory();
    void emulate_device_access(u64 physical);
    void exit_halt();
    void exit_hypercall();
    void exit_xsetbv();
    void exit_exception();
    void finish(const Outcome& outcome, u64 length);
    void inject(const Exception& exception);
    void inject(u8 vector) { inject(Exception{.vector = vector}); }
    void inject(u8 vector, u32 error_code) {
        inject(Exception{.vector = vector, .has_error_code = true, .error_code = error_code});
    }
    // Moves past the instruction that exited: to where the processor says that it ends, else by its
    // bytes, which usually are the bare opcode.
    void skip(Opcode expected) {
        if (cpu_.next_rip == 0 && expected.length != 0) {
            if (const u8* present = decoder_.known_bytes(cpu_)) {
                u32 word;
                __builtin_memcpy(&word, present, sizeof word);
                if (((word ^ expected.bytes) & expected.mask) == 0) {
                    continue_at(cpu_, cpu_.rip + expected.length);
                    return;
                }
            }
        }
        skip_decoded();
    }
    void skip_decoded();
    [[noreturn]] void give_up(abi::ReportKind kind, const char* why);

    // control_registers.cpp
    void exit_control_register();
    bool write_cr0(u64 value);
    bool write_cr4(u64 value);

    // msrs.cpp
    [[gnu::noinline]] void exit_rdmsr();
    [[gnu::noinline]] void exit_wrmsr();
    bool read_msr(u32 number, u64& value);
    bool write_msr(u32 number, u64 value);
    bool write_efer(u64 value);
    void set_tsc_offset(u64 offset);
    void apply(const ApicEffect& effect);
    bool set_system_time(u64 value);
    bool set_silent_eoi(u64 value);

    // silent_eoi.cpp
    void arm_silent_eoi(u8 vector);
    void settle_silent_eoi();
    void disarm_silent_eoi();

    // virtual_apic.cpp
    u32 wanted_virtual_apic() const;
    void choose_virtual_apic();
    void take_task_priority();
    [[gnu::noinline]] void give_apic();
    void inject_external();
    void exit_eoi();
    void exit_apic_write();
    [[gnu::noinline]] void exit_apic_access();
    bool has_virtual_apic() const {
        return (cpu_.virtual_apic & abi::virtual_apic::delivering) != 0;
    }
    u32& apic_register(ApicRegister reg) { return registers_[static_cast<u32>(reg) * 4]; }

    u64 mmio_read(u64 address, unsigned bytes) override;
    void mmio_write(u64 address, unsigned bytes, u64 value) override;
    u32 port_read(u16 port, unsigned bytes) override {
        return machine_.port_read(port, bytes, index_);
    }
    void port_write(u16 port, unsigned bytes, u32 value) override {
        machine_.port_write(port, bytes, value, index_);
    }

    u64& gpr(Gpr number) { return cpu_.gpr[static_cast<u32>(number)]; }
    void set_cpuid(const CpuidValue& value) {
        gpr(Gpr::rax) = value.eax;
        gpr(Gpr::rbx) = value.ebx;
        gpr(Gpr::rcx) = value.ecx;
        gpr(Gpr::rdx) = value.edx;
    }
    u64 pair_value() const; // EDX:EAX
    void set_pair(u64 value);

    u32 index_;
    abi::VcpuState& cpu_;
    std::span<u32> registers_; // of the APIC, as the processor serves them
    Machine& machine_;
    Lapic apic_;
    DecodeCache decoder_;
    Power power_;
    Offer offered_ = Offer::none;
    u8 offered_vector_ = 0;
    u32 offered_irq_ = 0;
    bool attention_ = true; // something changed that may concern interrupts or deadlines
    bool nmi_pending_ = false;
    bool apic_stale_ = true; // not all of the APIC is in registers_
    // Paravirtual EOI.
    u8* eoi_flag_ = nullptr; // in guest memory
    u64 eoi_msr_ = 0;
    bool eoi_armed_ = false;
    bool eoi_in_service_ = false;
    u64 system_time_msr_ = 0, wall_clock_msr_ = 0;
    u64 tsc_adjust_ = 0;
    std::array<u64, MsrPolicy::storage_count> stored_msrs_{};
};

} // namespace horos::vmm

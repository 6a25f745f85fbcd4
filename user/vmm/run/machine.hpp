// A virtual machine's board: the devices that all virtual CPUs share, and the wires between them.
#pragma once

#include <array>
#include <atomic>

#include "devices/apic_mailbox.hpp"
#include "devices/ioapic.hpp"
#include "devices/pci.hpp"
#include "devices/pic.hpp"
#include "devices/pit.hpp"
#include "devices/power.hpp"
#include "devices/rtc.hpp"
#include "devices/uart.hpp"
#include "emul/guest_memory.hpp"
#include "policy/cpuid_policy.hpp"
#include "policy/guest_clock.hpp"
#include "policy/msr_policy.hpp"
#include "run/spin_lock.hpp"

namespace horos::vmm {

inline constexpr u32 max_vcpus = abi::max_partition_vcpus;

struct MachineConfig {
    GuestMemory memory{};
    u32 vcpus = 1;
    u32 devices = abi::device::all;
    u64 tsc_khz = 1;
    u64 unix_seconds = 0; // time of day at `boot`
    u32 apic_frame = 0;   // for APICs in memory that the processor serves, 0 = none
    Ticks boot = 0;
};

class Machine {
public:
    explicit Machine(const MachineConfig& config);

    u32 port_read(u16 port, unsigned bytes, u32 vcpu);
    void port_write(u16 port, unsigned bytes, u32 value, u32 vcpu);
    u64 mmio_read(u64 address, unsigned bytes);
    void mmio_write(u64 address, unsigned bytes, u64 value, u32 vcpu);

    // An interrupt message from virtual CPU `from` or a device it accessed.
    void send(const InterruptMessage& message, u32 from);
    void end_of_interrupt(u8 vector, u32 vcpu);

    // Timers and the console; called by virtual CPU 0.
    void poll(Ticks now);
    Ticks next_deadline() const { return next_deadline_.load(std::memory_order_relaxed); }

    // The PIC's interrupt, for virtual CPU 0.
    bool external_pending() const { return external_.load(std::memory_order_relaxed); }
    struct External {
        bool valid = false;
        u32 irq = 0;
        u8 vector = 0;
    };
    External external_request();
    void acknowledge_external(u32 irq);

    ApicMailbox& mailbox(u32 vcpu) { return mailboxes_[vcpu]; }
    const GuestMemory& memory() const { return config_.memory; }
    const MachineConfig& config() const { return config_; }
    CpuidPolicy& cpuid() { return cpuid_; }
    MsrPolicy& msrs() { return msrs_; }
    const GuestClock& clock() const { return clock_; }

    // One more virtual CPU, or one less, has its APIC served through the page at its address.
    void share_apic_page(bool more);

    // A virtual CPU that can never run again; the last one ends the machine.
    void stopped_for_ever(u32 vcpu, u64 rip);
    void revived(u32 vcpu) { dead_vcpus_.fetch_and(~bit32(vcpu), std::memory_order_relaxed); }

private:
    bool has(u32 device) const { return (config_.devices & device) != 0; }
    u8 port_read_byte(u16 port, Ticks now);
    void port_write_byte(u16 port, u8 value, Ticks now, u32 vcpu);
    void power(PowerRequest request, u32 vcpu);
    void set_irq(u32 irq, bool high);
    void drain_output();
    void take_input();
    void settle(u32 vcpu);
    void deliver_pending(u32 from);
    void schedule(u32 vcpu);
    void deliver(const InterruptMessage& message, u32 target, u32 from);

    MachineConfig config_;
    SpinLock lock_;
    Uart uart_;
    PicPair pic_;
    Pit pit_;
    Rtc rtc_;
    Ioapic ioapic_;
    PciHost pci_;
    PowerControl power_;
    CpuidPolicy cpuid_;
    MsrPolicy msrs_;
    GuestClock clock_;
    u32 lines_ = 0;
    u32 apic_page_users_ = 0;
    std::atomic<u32> last_lowest_ = 0;
    std::atomic<bool> external_ = false;
    std::atomic<Ticks> next_deadline_ = never;
    std::atomic<u32> dead_vcpus_ = 0;
    std::array<ApicMailbox, max_vcpus> mailboxes_{};
};

} // namespace horos::vmm

// Paravirtual EOI: for an interrupt behind which nothing waits, the guest clears a flag in its
// memory instead of writing the EOI register, which saves an exit. (KVM's MSR_KVM_PV_EOI_EN.)
#include "run/vcpu.hpp"

namespace horos::vmm {

namespace {
constexpr u8 flag_skip_eoi = 1;
}

void Vcpu::arm_silent_eoi(u8 vector) {
    if (eoi_flag_ == nullptr || eoi_armed_ || !apic_.eoi_could_be_silent(vector))
        return;
    __atomic_store_n(eoi_flag_, flag_skip_eoi, __ATOMIC_RELAXED);
    eoi_armed_ = true;
    eoi_in_service_ = false;
}

// Learns whether the guest has ended the service, and takes the flag back when another interrupt
// waits for that end.
void Vcpu::settle_silent_eoi() {
    if (!eoi_armed_)
        return;
    const bool cleared = __atomic_load_n(eoi_flag_, __ATOMIC_RELAXED) == 0;
    if (cleared && eoi_in_service_) {
        apic_.end_of_interrupt();
        eoi_armed_ = eoi_in_service_ = false;
        return;
    }
    // Offered but not taken: it may be another interrupt's turn by now, so start over.
    if (!eoi_in_service_ || apic_.has_request())
        disarm_silent_eoi();
}

void Vcpu::disarm_silent_eoi() {
    if (!eoi_armed_)
        return;
    const bool cleared = __atomic_exchange_n(eoi_flag_, u8{0}, __ATOMIC_RELAXED) == 0;
    if (cleared && eoi_in_service_)
        apic_.end_of_interrupt();
    eoi_armed_ = eoi_in_service_ = false;
}

bool Vcpu::set_silent_eoi(u64 value) {
    if (value & 2)
        return false; // reserved
    disarm_silent_eoi();
    eoi_msr_ = value;
    eoi_flag_ = nullptr;
    if (value & 1) {
        eoi_flag_ = machine_.memory().at(value & ~u64{3}, 4);
        if (eoi_flag_ == nullptr)
            return false;
    }
    return true;
}

} // namespace horos::vmm

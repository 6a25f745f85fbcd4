// Statements about control blocks. Sections are of the APM vol. 2, rev. 3.42.
#include "kernel/core/frames.hpp"
#include "kernel/svm/svm.hpp"
#include "spec/invariants.hpp"

namespace horos::spec {

static const svm::ControlArea& control_of(Frame vcpu) { return vmcbs[vcpus[vcpu].control].control; }
static const svm::SaveArea& save_of(Frame vcpu) { return vmcbs[vcpus[vcpu].control].save; }

// Optional intercepts add to the mandatory ones, never the other way round. The debug-address
// registers exit until the guest's are in the processor.
bool inv_vmcb_intercepts(Frame f) {
    const svm::ControlArea& c = control_of(f);
    constexpr u32 addresses = 0x000f'000f;
    const bool debug = vcpus[f].dr_live != 0 || (c.intercept_dr & addresses) == addresses;
    return (c.intercept_exceptions & mandatory::exceptions) == mandatory::exceptions &&
           (c.intercept_misc1 & mandatory::misc1) == mandatory::misc1 &&
           (c.intercept_misc2 & mandatory::misc2) == mandatory::misc2 &&
           (c.intercept_misc3 & mandatory::misc3) == mandatory::misc3 && debug;
}

bool inv_vmcb_paging(Frame f) {
    const svm::ControlArea& c = control_of(f);
    return c.nested_ctl == svm::nested_ctl::NP_ENABLE &&
           c.nested_cr3 == u64{spaces[vcpus[f].space].root} << frame_bits;
}

// Before its first run a virtual CPU has none.
bool inv_vmcb_maps(Frame f) {
    const svm::ControlArea& c = control_of(f);
    const Space& space = spaces[vcpus[f].space];
    const u64 io = c.iopm_base_pa >> frame_bits;
    const u64 msr = c.msrpm_base_pa >> frame_bits;
    return (io == 0 || io == machine.io_map || io == space.io_map) &&
           (msr == 0 || msr == machine.msr_map || msr == space.msr_map) &&
           (c.iopm_base_pa | c.msrpm_base_pa) % frame_size == 0;
}

// With a tag that is in force and no change of its space since: the maps are those of the space.
bool inv_vmcb_current(Frame f) {
    const svm::ControlArea& c = control_of(f);
    const Vcpu& v = vcpus[f];
    const Space& space = spaces[v.space];
    const Frame io = space.io_map != 0 ? space.io_map : machine.io_map;
    const Frame msr = space.msr_map != 0 ? space.msr_map : machine.msr_map;
    const bool current = v.core < machine.core_count && v.tlb_era == cores[v.core].tlb_era &&
                         v.flushes_seen == space.flushes;
    return v.flushes_seen <= space.flushes &&
           (!current ||
            (c.iopm_base_pa == u64{io} << frame_bits && c.msrpm_base_pa == u64{msr} << frame_bits));
}

bool inv_vmcb_tag(Frame f) {
    return control_of(f).guest_asid == vcpus[f].tlb_tag && vcpus[f].tlb_tag < machine.tlb_tags;
}

bool inv_vmcb_host_owned(Frame f) {
    const svm::ControlArea& c = control_of(f);
    constexpr u32 asked_for = svm::int_ctl::V_TPR_PRIO | svm::int_ctl::V_IRQ |
                              svm::int_ctl::V_INTR_PRIO | svm::int_ctl::V_IGN_TPR;
    const bool interrupts = (c.int_ctl & ~asked_for) == svm::int_ctl::V_INTR_MASKING;
    const bool no_avic =
        (c.avic_apic_bar | c.avic_backing_page | c.avic_logical_table | c.avic_physical_table) == 0;
    const bool no_sev = (c.ghcb_pa | c.vmsa_pa) == 0;
    return interrupts && no_avic && no_sev && c.virt_ext == 0 && c.clean_bits == 0 &&
           c.rap_control == 0;
}

static bool long_mode(const svm::SaveArea& s) {
    return (s.cr0 & x86::cr0::PG) != 0 && (s.efer & x86::efer::LME) != 0;
}

// §7.8.1: each byte is 0, 1 or 4 to 7.
static bool pat_is_valid(u64 pat) {
    constexpr u64 each = 0x0101'0101'0101'0101;
    return (pat & each * 0xf8) == 0 && (pat >> 1 & ~(pat >> 2) & each) == 0;
}

// What svm_init finds out about the processor.
bool inv_svm_limits() {
    constexpr u64 efer = x86::efer::SCE | x86::efer::LME | x86::efer::LMA | x86::efer::NXE;
    return machine.vendor != Vendor::svm ||
           (svm_limits.efer == efer &&
            svm_limits.physical_mask == (u64{1} << machine.physical_bits) - 1);
}

// The rules of §15.5.1 that the guard answers for, as they stand after it.
bool inv_vmcb_state(Frame f) {
    const svm::SaveArea& s = save_of(f);
    const u16 both = x86::seg::L | x86::seg::DB;
    const bool efer =
        (s.efer & x86::efer::SVME) != 0 && (s.efer & ~(svm_limits.efer | x86::efer::SVME)) == 0;
    const bool cr0 = (s.cr0 & (x86::cr0::CD | x86::cr0::NW)) != x86::cr0::NW && s.cr0 >> 32 == 0;
    const bool cr3 = (s.efer & x86::efer::LME) == 0 || (s.cr3 & ~svm_limits.physical_mask) == 0;
    const bool paging =
        !long_mode(s) || ((s.cr4 & x86::cr4::PAE) != 0 && (s.cr0 & x86::cr0::PE) != 0 &&
                          (s.cs.attributes & both) != both);
    return efer && cr0 && cr3 && (s.cr4 & ~svm_limits.cr4) == 0 && s.dr6 >> 32 == 0 &&
           s.dr7 >> 32 == 0 && paging && pat_is_valid(s.g_pat) && s.s_cet == 0;
}

// §15.20: an event to be injected is one that the guest's mode has.
bool inv_vmcb_event(Frame f) {
    const u64 e = control_of(f).event_inj;
    const svm::SaveArea& s = save_of(f);
    const u64 type = (e & svm::event::TYPE) >> svm::event::TYPE_SHIFT;
    const u64 vector = e & svm::event::VECTOR;
    if ((e & svm::event::VALID) == 0)
        return true;
    if (type != 3)
        return type == 0 || type == 2 || type == 4;
    constexpr u32 exceptions = 0x1fbu | 0x1fu << 10 | 0xfu << 16 | 1u << 30; // table 8-1
    const bool in_64_bit_mode = long_mode(s) && (s.cs.attributes & x86::seg::L) != 0;
    return vector < 32 && (exceptions >> vector & 1) != 0 &&
           !(in_64_bit_mode && (vector == 4 || vector == 5));
}

} // namespace horos::spec

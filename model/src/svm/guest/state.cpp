// Loading the guest from the VMCB and saving it (APM vol. 2 rev. 3.42 §15.5.1, §15.6, §15.7.1).
#include "guest/cpu.hpp"
#include "horos/model/svm/fields.hpp"

#include <algorithm>
#include <cstring>

namespace horos::model::svm::guest {

namespace {

namespace ic = horos::svm::int_ctl;
namespace seg_bits = x86::seg;

// Attribute bits that the hardware observes, register by register (§15.5.1, "Segment State").
constexpr uint16_t CS_OBSERVED = seg_bits::DB | seg_bits::L | seg_bits::READABLE;
constexpr uint16_t SS_OBSERVED =
    seg_bits::DB | seg_bits::EXPAND_DOWN | seg_bits::WRITABLE | seg_bits::CODE;
constexpr uint16_t DATA_OBSERVED = SS_OBSERVED | seg_bits::DPL_MASK;

// Writes values with their masks into a SavedVmcb.
class Saver {
public:
    explicit Saver(SavedVmcb& to) : to_(to) {}
    void put(size_t offset, uint64_t value, unsigned bytes, uint64_t known = ~0ull) {
        std::memcpy(&to_.value[offset], &value, bytes);
        std::memcpy(&to_.known[offset], &known, bytes);
    }
    void unknown(size_t offset, size_t bytes) { std::memset(&to_.known[offset], 0, bytes); }

private:
    SavedVmcb& to_;
};

#define CONTROL(member)                                                                            \
    offsetof(horos::svm::ControlArea, member), sizeof(horos::svm::ControlArea::member)
#define AT_CONTROL(member) offsetof(horos::svm::ControlArea, member)
#define AT_SAVE(member) horos::svm::SAVE_AREA_OFFSET + offsetof(horos::svm::SaveArea, member)

void save_segment(Saver& to, size_t offset, const Segment& s, SegReg r, bool in_64bit) {
    const bool is_code = r == SegReg::CS;
    const bool present = (s.attributes & seg_bits::P) != 0 || is_code;
    uint16_t observed = is_code ? CS_OBSERVED : r == SegReg::SS ? SS_OBSERVED : DATA_OBSERVED;
    if (!is_code) {
        // A null segment is marked by P; its other attributes mean nothing.
        observed = static_cast<uint16_t>((present ? observed : 0) | seg_bits::P);
    }
    if (r == SegReg::SS && in_64bit) {
        observed = 0; // ignored in 64-bit mode
    }
    to.put(offset, s.selector, 2);
    to.put(offset + 2, s.attributes, 2, observed);
    const bool limit_used = present && !in_64bit;
    to.put(offset + 4, s.limit, 4, limit_used ? ~0ull : 0);
    // Only the low half of these bases is implemented; 64-bit mode does not use them.
    to.put(offset + 8, s.base, 8, limit_used ? 0xffffffffull : 0);
}

uint64_t rflags_defined() {
    // RF on an exit is not described for every cause (§15.7.1).
    return x86::rflags::DEFINED & ~x86::rflags::RF;
}

} // namespace

Cpu::Cpu(const Machine& m, Choices& c, Prediction& p)
    : machine(m), profile(*m.profile), control(m.vmcb->control), choices(c), prediction(p),
      memory(*m.memory) {
    load();
    load_tlb();
}

void Cpu::load() {
    const horos::svm::SaveArea& save = machine.vmcb->save;
    const GuestContext& context = machine.guest;
    seg = {save.es, save.cs, save.ss, save.ds, context.fs, context.gs};
    gdtr = save.gdtr;
    idtr = save.idtr;
    for (Segment* table : {&gdtr, &idtr}) {
        if (table->limit > 0xffff && !deviates(Deviation::TABLE_LIMITS_32)) {
            table->limit &= 0xffff;
        }
    }
    ldtr = context.ldtr;
    tr = context.tr;
    cr0 = save.cr0 | x86::cr0::ET;
    cr2 = save.cr2;
    cr2_known = deviates(Deviation::CR2_NOT_LOADED) ? 0 : ~0ull;
    cr3 = save.cr3;
    cr4 = save.cr4;
    efer = save.efer;
    dr6 = save.dr6;
    dr7 = save.dr7;
    rflags = (save.rflags & x86::rflags::DEFINED) | x86::rflags::ONE;
    if ((save.rflags & x86::rflags::ONE) == 0 && deviates(Deviation::RFLAGS_ONE_LOST)) {
        rflags &= ~x86::rflags::ONE;
    }
    // Whether reserved bits that VMRUN loads stick is not said.
    rflags_known = x86::rflags::DEFINED | ~save.rflags;
    rip = save.rip;
    const bool active = (efer & x86::efer::LME) != 0 && (cr0 & x86::cr0::PG) != 0;
    if (active != long_mode() && deviates(Deviation::LMA_COMPUTED)) {
        efer ^= x86::efer::LMA;
    }
    // Of a CS that is no segment nothing is loaded (load_odd_code_segment()), whatever this makes
    // it.
    const bool odd = (save.cs.attributes & (seg_bits::P | seg_bits::S)) == seg_bits::P &&
                     !is_system_segment(save.cs);
    if (real() && !odd && (save.cs.attributes & seg_bits::READABLE) == 0 &&
        deviates(Deviation::REAL_CS_DATA)) {
        sreg(SegReg::CS).attributes |= seg_bits::READABLE;
    }
    g_pat = save.g_pat;
    stack_base_high = (save.ss.base >> 32) != 0;
    for (SegReg r : {SegReg::ES, SegReg::CS, SegReg::SS, SegReg::DS}) {
        sreg(r).base &= 0xffffffffull;
    }
    // Bases that are loaded are sign-extended (§15.5.1), from the widest linear address that the
    // part has; whether a guest with fewer levels of tables sees a narrower one is not said, so
    // what depends on it is left open (access.cpp, compare.cpp).
    const unsigned shift = 64 - profile.linear_bits;
    for (Segment* s : {&sreg(SegReg::FS), &sreg(SegReg::GS), &ldtr, &tr}) {
        s->base = static_cast<uint64_t>(static_cast<int64_t>(s->base << shift) >> shift);
    }
    cpl = real() ? 0 : v86() ? 3 : save.cpl & 3;
    const auto ss_dpl =
        static_cast<uint8_t>((save.ss.attributes & seg_bits::DPL_MASK) >> seg_bits::DPL_SHIFT);
    if (cpl != ss_dpl && deviates(Deviation::CPL_FROM_SS)) {
        cpl = ss_dpl;
    }
    if (cpl != save.cpl && !real() && deviates(Deviation::CPL_RAW)) {
        cpl = save.cpl;
    }
    for (size_t i = 0; i < gpr.size(); ++i) {
        gpr[i] = {context.gpr[i], ~0ull};
    }
    gpr[static_cast<size_t>(Gpr::RAX)] = {save.rax, ~0ull};
    gpr[static_cast<size_t>(Gpr::RSP)] = {save.rsp, ~0ull};
    dr = context.dr;
    kernel_gs_base = context.kernel_gs_base;
    star = context.star;
    lstar = context.lstar;
    cstar = context.cstar;
    sfmask = context.sfmask;
    sysenter_cs = context.sysenter_cs;
    sysenter_esp = context.sysenter_esp;
    sysenter_eip = context.sysenter_eip;
    tsc_aux = {context.tsc_aux, ~0ull};
    xcr0 = {context.xcr0, ~0ull};
    shadow = (control.int_state & horos::svm::int_state::INTERRUPT_SHADOW) != 0;
    if (shadow && deviates(Deviation::SHADOW_NOT_LOADED)) {
        shadow = false;
    }
    int_ctl = control.int_ctl;
    if_before = (rflags & x86::rflags::IF) != 0;
    nmi_pending = machine.pending.nmi;
    intr_pending = machine.pending.intr;
    if (has(x86::cpuid::SVM_EDX_PAUSE_FILTER) && control.pause_filter_count != 0) {
        pause_budget = control.pause_filter_count;
    }
}

uint8_t odd_bases(const Outcome& out) {
    const Segment* const stored[] = {&out.fs, &out.gs, &out.ldtr, &out.tr};
    unsigned odd = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const Segment& s = *stored[i];
        const bool known = is_segment(s) || is_system_segment(s);
        odd |= (s.attributes & x86::seg::P) != 0 && !known ? 1u << i : 0;
    }
    return static_cast<uint8_t>(odd);
}

Outcome Cpu::common_outcome() const {
    Outcome out = result;
    // Outside 64-bit mode the upper halves of the registers are not defined (vol. 1 §3.1.2).
    const uint64_t width = code64() ? ~0ull : 0xffffffffull;
    for (size_t i = 0; i < gpr.size(); ++i) {
        out.gpr[i] = {gpr[i].value, gpr[i].known & width};
    }
    out.gpr[static_cast<size_t>(Gpr::RAX)].known = 0;
    out.gpr[static_cast<size_t>(Gpr::RSP)].known = 0;
    for (size_t i = 0; i < dr.size(); ++i) {
        out.dr[i] = {dr[i], ~0ull};
    }
    out.tsc_aux = tsc_aux;
    out.xcr0 = xcr0;
    out.kernel_gs_base = held(kernel_gs_base, LINEAR_SURE);
    out.star = {star, ~0ull};
    out.lstar = held(lstar, LINEAR_SURE);
    out.cstar = held(cstar, LINEAR_SURE);
    out.sfmask = held(sfmask, 0xffffffffull);
    out.sysenter_cs = held(sysenter_cs, 0xffffull);
    out.sysenter_esp = held(sysenter_esp, 0xffffffffull);
    out.sysenter_eip = held(sysenter_eip, 0xffffffffull);
    out.fs = sreg(SegReg::FS);
    out.gs = sreg(SegReg::GS);
    out.ldtr = ldtr;
    out.tr = tr;
    if (const uint8_t odd = odd_bases(out); odd != 0 && deviates(Deviation::SEGMENT_KINDS)) {
        out.vmsave_base_open |= odd;
    }
    out.writes = memory.writes();
    std::sort(out.writes.begin(), out.writes.end(),
              [](const MemoryWrite& a, const MemoryWrite& b) { return a.address < b.address; });
    return out;
}

Outcome Cpu::outcome(const Stop& stop) {
    Outcome out = common_outcome();
    out.kind = stop.kind;
    return out;
}

Outcome Cpu::outcome(const Exit& exit) {
    Outcome out = common_outcome();
    out.kind = exit.code == ExitCode::INVALID ? OutcomeKind::INVALID : OutcomeKind::EXIT;
    out.exit_code = exit.code;
    save_vmcb(out, exit);
    if (exit.code == ExitCode::SHUTDOWN) {
        // "After an intercepted shutdown, the state saved in the VMCB is undefined" (§15.14.3).
        std::fill(out.vmcb.known.begin() + horos::svm::SAVE_AREA_OFFSET, out.vmcb.known.end(),
                  uint8_t{0});
        for (Masked& g : out.gpr) {
            g.known = 0;
        }
        out.memory_known = false;
        const size_t info = AT_CONTROL(exit_int_info);
        std::fill_n(out.vmcb.known.begin() + info, 8, uint8_t{0});
    }
    return out;
}

// §15.8.4: filled for data faults only, and not while an event was being delivered (there is no
// instruction then that faulted; the manual does not say).
void Cpu::save_instruction_bytes(Outcome& out, const Exit& exit) {
    Saver to(out.vmcb);
    const size_t at = AT_CONTROL(instruction_bytes_fetched);
    to.unknown(at, 16);
    if (!has(x86::cpuid::SVM_EDX_DECODE_ASSISTS)) {
        return;
    }
    if (!exit.data_fault) {
        to.put(at, 0, 1);
        return;
    }
    const auto bytes = delivering ? std::nullopt : instruction_bytes();
    if (!bytes) {
        return;
    }
    to.put(at, bytes->size(), 1);
    for (size_t i = 0; i < bytes->size(); ++i) {
        to.put(at + 1 + i, (*bytes)[i], 1);
    }
}

// §15.5.1 names the segment registers among what is sign-extended, not GDTR and IDTR.
uint64_t Cpu::table_base_known(uint64_t base) const {
    constexpr uint64_t LOW_48 = 0x0000ffffffffffffull;
    const bool sure = static_cast<uint64_t>(static_cast<int64_t>(base << 16) >> 16) == base;
    return !long_mode() ? 0xffffffffull : sure ? ~0ull : LOW_48;
}

// Deviation::NEXT_RIP_ALWAYS: the instruction pointer of that moment.
uint64_t Cpu::current_rip() const { return delivering ? delivering->return_rip : insn_next_rip; }

void Cpu::save_vmcb(Outcome& out, const Exit& exit) {
    // What is not named below keeps its value.
    out.vmcb.value.assign(machine.vmcb_in_memory != nullptr ? machine.vmcb_in_memory
                                                            : machine.vmcb);
    out.vmcb.known.fill(0xff);
    Saver to(out.vmcb);

    // Control area.
    uint64_t ctl_known = ~static_cast<uint64_t>(ic::V_TPR & ~ic::V_TPR_PRIO);
    if (!(has(x86::cpuid::SVM_EDX_VGIF) && (control.int_ctl & ic::V_GIF_ENABLE) != 0)) {
        ctl_known &= ~static_cast<uint64_t>(ic::V_GIF);
    }
    if (!(has(x86::cpuid::SVM_EDX_VNMI) && (control.int_ctl & ic::V_NMI_ENABLE) != 0)) {
        ctl_known &= ~static_cast<uint64_t>(ic::V_NMI | ic::V_NMI_MASK);
    }
    if (virq_in_delivery && deviates(Deviation::VIRQ_CLEARED_LATE)) {
        int_ctl |= ic::V_IRQ;
    }
    to.put(AT_CONTROL(int_ctl), int_ctl, 4, ctl_known);
    const uint64_t shadow_bit = horos::svm::int_state::INTERRUPT_SHADOW;
    const bool exception = is_exception(exit.code);
    const bool lost = shadow && (exception || delivering || exit.code == ExitCode::TASK_SWITCH) &&
                      deviates(Deviation::SHADOW_LOST);
    to.put(AT_CONTROL(int_state), shadow && !lost ? shadow_bit : 0, 8, shadow_bit);
    to.put(AT_CONTROL(exit_code), static_cast<uint64_t>(exit.code), 8);
    to.put(AT_CONTROL(exit_info_1), exit.info1.value, 8, exit.info1.known);
    to.put(AT_CONTROL(exit_info_2), exit.info2.value, 8, exit.info2.known);
    namespace ev = horos::svm::event;
    constexpr uint64_t DEFINED = ev::VALID | ev::ERROR_CODE_VALID | ev::TYPE | ev::VECTOR;
    const bool is_df = exit.code == horos::svm::exit_code(ExitCode::EXCEPTION_0, 8);
    const bool empty = is_df && delivering && deviates(Deviation::DF_NO_INTINFO);
    const uint64_t info = empty ? 0 : exit_int_info();
    const bool valid = (info & horos::svm::event::VALID) != 0;
    const bool has_error = (info & horos::svm::event::ERROR_CODE_VALID) != 0;
    const bool int1 = delivering && delivering->vector == 1 && delivering->return_rip != rip;
    const bool software =
        delivering && !delivering->injected &&
        (delivering->type != EventType::EXCEPTION || delivering->checks_dpl || int1);
    const bool stale = software && deviates(Deviation::EXITINTINFO_STALE);
    to.put(AT_CONTROL(exit_int_info), info, 8,
           !valid || stale       ? ev::VALID
           : has_error && real() ? DEFINED & ~ev::ERROR_CODE_VALID
           : has_error           ? DEFINED | ~0xffffffffull
                                 : DEFINED);
    to.unknown(CONTROL(event_inj)); // whether the processor clears V is not said
    const bool always = !exit.next_rip && deviates(Deviation::NEXT_RIP_ALWAYS);
    const uint64_t next = exit.next_rip ? insn_next_rip : !always ? 0 : current_rip();
    const bool next_known = has(x86::cpuid::SVM_EDX_NRIPS) &&
                            (!always || delivering || insn_length_known || !exception);
    to.put(AT_CONTROL(next_rip), next, 8, next_known ? ~0ull : 0);
    save_instruction_bytes(out, exit);
    if (has(x86::cpuid::SVM_EDX_BUS_LOCK_THRESHOLD)) {
        to.unknown(CONTROL(bus_lock_threshold));
    }

    // State-save area.
    const bool wide = code64();
    const struct {
        SegReg reg;
        size_t offset;
    } segments[] = {{SegReg::ES, AT_SAVE(es)},
                    {SegReg::CS, AT_SAVE(cs)},
                    {SegReg::SS, AT_SAVE(ss)},
                    {SegReg::DS, AT_SAVE(ds)}};
    for (const auto& s : segments) {
        save_segment(to, s.offset, sreg(s.reg), s.reg, wide);
        if (!is_segment(sreg(s.reg)) && deviates(Deviation::SEGMENT_KINDS)) {
            to.unknown(s.offset + 2, 14);
        }
    }
    to.put(AT_SAVE(gdtr) + 4, gdtr.limit, 4, 0xffff);
    to.put(AT_SAVE(gdtr) + 8, gdtr.base, 8, table_base_known(gdtr.base));
    to.put(AT_SAVE(idtr) + 4, idtr.limit, 4, 0xffff);
    to.put(AT_SAVE(idtr) + 8, idtr.base, 8, table_base_known(idtr.base));
    to.unknown(AT_SAVE(gdtr), 4);
    to.unknown(AT_SAVE(idtr), 4);
    to.put(AT_SAVE(cpl), cpl, 1);
    to.put(AT_SAVE(efer), efer, 8);
    to.put(AT_SAVE(cr4), cr4, 8);
    to.put(AT_SAVE(cr3), cr3, 8);
    // Bits of CR0 that are not implemented, and ET, which reads as one.
    const uint64_t loaded_undefined = machine.vmcb->save.cr0 & ~x86::cr0::DEFINED;
    to.put(AT_SAVE(cr0), cr0, 8, ~loaded_undefined & ~x86::cr0::ET);
    to.put(AT_SAVE(dr7), dr7, 8, dr7_known & 0xffff23ffull);
    to.put(AT_SAVE(dr6), dr6, 8,
           dr6_known & (x86::dr6::B0 | x86::dr6::B1 | x86::dr6::B2 | x86::dr6::B3 | x86::dr6::BD |
                        x86::dr6::BS | x86::dr6::BT));
    to.put(AT_SAVE(rflags), rflags, 8, rflags_defined() & rflags_known);
    const uint64_t width = wide ? ~0ull : 0xffffffffull;
    to.put(AT_SAVE(rip), rip, 8, width);
    const Masked& rsp = gpr[static_cast<size_t>(Gpr::RSP)];
    const Masked& rax = gpr[static_cast<size_t>(Gpr::RAX)];
    to.put(AT_SAVE(rsp), rsp.value, 8, rsp.known & width);
    to.put(AT_SAVE(rax), rax.value, 8, rax.known & width);
    to.put(AT_SAVE(cr2), cr2, 8, cr2_known & (long_mode() ? ~0ull : 0xffffffffull));
    if (nested_paging()) {
        to.put(AT_SAVE(g_pat), g_pat, 8);
    }
    if (has(x86::cpuid::SVM_EDX_LBR_VIRT) &&
        (control.virt_ext & horos::svm::virt_ext::LBR_VIRT_ENABLE) != 0) {
        to.unknown(AT_SAVE(dbgctl), 48);
        to.unknown(AT_SAVE(lbr_stack), 0x108);
    }
    if (profile.cet) {
        to.unknown(AT_SAVE(s_cet), 24); // canonicalised and swapped; not followed further
    }
    to.unknown(AT_SAVE(spec_ctrl), 8);
    if (exit.code ==
        horos::svm::exit_code(ExitCode::EXCEPTION_0, static_cast<unsigned>(x86::Vector::DF))) {
        to.unknown(AT_SAVE(rip), 8); // §15.12.9
    }
}

} // namespace horos::model::svm::guest

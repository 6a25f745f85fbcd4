// What a VMM is told when its guest stops on VMX: the reasons of horos/abi/vcpu_state.hpp for those
// of the SDM vol. 3C appendix C, and the fields of the page that each comes with.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"
#include "vmx_exit.hpp"

namespace horos::proofs::vmx {

namespace {

namespace group = abi::group;

struct Row {
    Reason code;
    ExitReason reason;
};
constexpr Row reasons[] = {
    {Reason::EXCEPTION_OR_NMI, ExitReason::exception},
    {Reason::TRIPLE_FAULT, ExitReason::shutdown},
    {Reason::INTERRUPT_WINDOW, ExitReason::window},
    {Reason::NMI_WINDOW, ExitReason::nmi_window},
    {Reason::TASK_SWITCH, ExitReason::task_switch},
    {Reason::CPUID, ExitReason::cpuid},
    {Reason::HLT, ExitReason::hlt},
    {Reason::INVD, ExitReason::invd},
    {Reason::INVLPG, ExitReason::invlpg},
    {Reason::RDPMC, ExitReason::rdpmc},
    {Reason::RDTSC, ExitReason::rdtsc},
    {Reason::RSM, ExitReason::rsm},
    {Reason::VMCALL, ExitReason::vmcall},
    {Reason::CR_ACCESS, ExitReason::cr_access},
    {Reason::MOV_DR, ExitReason::dr_access},
    {Reason::IO, ExitReason::io},
    {Reason::RDMSR, ExitReason::rdmsr},
    {Reason::WRMSR, ExitReason::wrmsr},
    {Reason::ENTRY_GUEST_STATE, ExitReason::entry_refused},
    {Reason::ENTRY_MSR_LOAD, ExitReason::entry_refused},
    {Reason::MWAIT, ExitReason::mwait},
    {Reason::MONITOR, ExitReason::monitor},
    {Reason::PAUSE, ExitReason::pause},
    {Reason::APIC_ACCESS, ExitReason::apic_access},
    {Reason::VIRTUALIZED_EOI, ExitReason::eoi},
    {Reason::GDTR_IDTR_ACCESS, ExitReason::descriptor_access},
    {Reason::LDTR_TR_ACCESS, ExitReason::descriptor_access},
    {Reason::EPT_VIOLATION, ExitReason::memory},
    {Reason::RDTSCP, ExitReason::rdtscp},
    {Reason::WBINVD, ExitReason::wbinvd},
    {Reason::XSETBV, ExitReason::xsetbv},
    {Reason::APIC_WRITE, ExitReason::apic_write},
};
constexpr Reason vmx_instructions[] = {
    Reason::GETSEC, Reason::VMCLEAR,  Reason::VMLAUNCH, Reason::VMPTRLD, Reason::VMPTRST,
    Reason::VMREAD, Reason::VMRESUME, Reason::VMWRITE,  Reason::VMXOFF,  Reason::VMXON,
    Reason::INVEPT, Reason::INVVPID,  Reason::VMFUNC};

Term is_code(const Told& t, Reason r) { return is(t.code(), static_cast<uint64_t>(r)); }

// Appendix C.
Term expected_reason(const Told& t) {
    Term all = number_of(ExitReason::unknown);
    for (const Row& r : reasons)
        all = ite(is_code(t, r.code), number_of(r.reason), all);
    for (const Reason r : vmx_instructions)
        all = ite(is_code(t, r), number_of(ExitReason::svm_vmx_instruction), all);
    const Term refused = lnot(is(zext(named_bits("vmx_run", 32), 64), 0));
    return ite(refused, number_of(ExitReason::entry_refused), all);
}

} // namespace

// Of the kernel alone: host interrupts, NMIs, its timer, and what a guest's own use of the debug
// registers and a window that nobody asked for come to.
Term is_own(const Told& t) {
    const Term nmi = is(keep(t.then[F::EXIT_INTERRUPTION_INFO],
                             defs::interruption::VALID | defs::interruption::TYPE),
                        defs::interruption::VALID | 2u << defs::interruption::TYPE_SHIFT);
    const Term window =
        has(zext(t.then.narrow("vcpus", "[].vmx.requests", t.then.vcpu), 64), abi::request::window);
    const Term debug = has(t.then.row("[].extra_exits"), abi::extra_exit::dr_access);
    return land(
        is(zext(named_bits("vmx_run", 32), 64), 0),
        lor({is_code(t, Reason::EXTERNAL_INTERRUPT), is_code(t, Reason::INIT),
             is_code(t, Reason::SIPI), is_code(t, Reason::TPR_BELOW_THRESHOLD),
             is_code(t, Reason::PREEMPTION_TIMER), land(is_code(t, Reason::EXCEPTION_OR_NMI), nmi),
             land(is_code(t, Reason::INTERRUPT_WINDOW), lnot(window)),
             land(is_code(t, Reason::MOV_DR), lnot(debug))}));
}

namespace {

struct Register {
    const char* name;
    size_t page;
    F field;
};

void segment_claims(Told& t, const char* name, size_t place, unsigned n, Term on) {
    const auto field = [&](F base) { return t.then[defs::plus(base, n)]; };
    const std::string s = name;
    t.must(s + ".limit", t.page(place + 4, 4), field(F::GUEST_ES_LIMIT), on);
    t.must(s + ".base", t.page(place + 8, 8), field(F::GUEST_ES_BASE), on);
    if (n >= defs::SEGMENTS)
        return;
    const Term rights = field(F::GUEST_ES_RIGHTS);
    // Access rights 7:0 and 15:12 (§24.4.1) are attributes 7:0 and 11:8; unusable is not present.
    const Term low = keep(rights, 0xff);
    const Term attributes = bor(low, keep(lshr(rights, num(64, 4)), 0xf00));
    t.must(s + ".selector", t.page(place, 2), field(F::GUEST_ES_SELECTOR), on);
    t.must(s + ".attributes", t.page(place + 2, 2),
           ite(has(rights, defs::rights::UNUSABLE), keep(attributes, ~uint64_t{0x80}), attributes),
           on);
}

Term seen(const Told& t, F field, F shadow, F mask) {
    const Term owned = t.then[mask];
    return bor(band(t.then[field], bxor(owned, num(64, ~uint64_t{0}))),
               band(t.then[shadow], owned));
}

void common_claims(Told& t) {
    t.must("rsp", t.page(offsetof(VcpuState, gpr) + 32, 8), t.then[F::GUEST_RSP]);
    t.must("rip", t.page(offsetof(VcpuState, rip), 8), t.then[F::GUEST_RIP]);
    t.must("rflags", t.page(offsetof(VcpuState, rflags), 8), t.then[F::GUEST_RFLAGS]);
    t.must("interrupt_shadow", t.page(offsetof(VcpuState, interrupt_shadow), 4),
           when(has(t.then[F::GUEST_INTERRUPTIBILITY], 3), 1));
    t.must("virtual_apics", t.page(offsetof(VcpuState, virtual_apics), 4),
           t.then.limit(offsetof(core::VmxLimits, virtual_apics)));
    const size_t pending = offsetof(VcpuState, pending_interrupt);
    t.must("pending_interrupt", t.page(pending, 8),
           ite(is(t.then.row("[].delivering"), 0), t.page(pending, 8, t.exit.back), num(64, 0)));
    t.must("interrupted_event", t.page(offsetof(VcpuState, interrupted_event), 8), t.exit.event);
    t.must("nothing is left to inject", t.now.row("[].vmx.event"), num(64, 0));
    t.must("exit_reason", t.page(offsetof(VcpuState, exit_reason), 4), t.reason);
    t.must("reason in the answer", t.reason, expected_reason(t));
    t.claims.emplace_back("an affair of the kernel's is told", lnot(is_own(t)));
    // In the middle of an instruction, or between two, there is no next one.
    std::vector<Term> between;
    for (const ExitReason r :
         {ExitReason::unknown, ExitReason::exception, ExitReason::shutdown, ExitReason::window,
          ExitReason::nmi_window, ExitReason::entry_refused, ExitReason::memory, ExitReason::eoi,
          ExitReason::apic_write, ExitReason::apic_access})
        between.push_back(t.when_reason(r));
    const Term length = t.then[F::EXIT_INSTRUCTION_LENGTH];
    t.must("next_rip", t.page(offsetof(VcpuState, next_rip), 8),
           ite(lor(lor(between), is(length, 0)), num(64, 0), add(t.then[F::GUEST_RIP], length)));
}

void wanted_claims(Told& t, Term wanted) {
    static constexpr std::pair<const char*, size_t> segments[] = {
        {"es", offsetof(VcpuState, es)},     {"cs", offsetof(VcpuState, cs)},
        {"ss", offsetof(VcpuState, ss)},     {"ds", offsetof(VcpuState, ds)},
        {"fs", offsetof(VcpuState, fs)},     {"gs", offsetof(VcpuState, gs)},
        {"ldtr", offsetof(VcpuState, ldtr)}, {"tr", offsetof(VcpuState, tr)},
        {"gdtr", offsetof(VcpuState, gdtr)}, {"idtr", offsetof(VcpuState, idtr)}};
    static constexpr Register system[] = {
        {"sysenter_cs", offsetof(VcpuState, sysenter_cs), F::GUEST_SYSENTER_CS},
        {"sysenter_esp", offsetof(VcpuState, sysenter_esp), F::GUEST_SYSENTER_ESP},
        {"sysenter_eip", offsetof(VcpuState, sysenter_eip), F::GUEST_SYSENTER_EIP},
        {"pat", offsetof(VcpuState, pat), F::GUEST_PAT}};
    for (unsigned n = 0; n < std::size(segments); ++n)
        segment_claims(t, segments[n].first, segments[n].second, n, has(wanted, group::segments));
    for (const Register& r : system)
        t.must(r.name, t.page(r.page, 8), t.then[r.field], has(wanted, group::system));
    constexpr size_t list = offsetof(core::Vcpu, vmx) + offsetof(core::VmxState, msrs) +
                            offsetof(core::MsrEntry, value);
    for (unsigned i = 0; i < core::switched_count; ++i) {
        static constexpr size_t places[] = {offsetof(VcpuState, star), offsetof(VcpuState, lstar),
                                            offsetof(VcpuState, cstar), offsetof(VcpuState, sfmask),
                                            offsetof(VcpuState, kernel_gs_base)};
        t.must("MSR " + std::to_string(i), t.page(places[i], 8),
               t.in_row("vcpus", t.then.vcpu, list + i * sizeof(core::MsrEntry), 8, t.exit.back),
               has(wanted, group::system));
    }
    t.must("dr7", t.page(offsetof(VcpuState, dr7), 8), t.then[F::GUEST_DR7],
           has(wanted, group::debug));
}

void mode_claims(Told& t) {
    const Term string = has(t.qualification(), defs::io_access::STRING);
    const Term on = lor(lnot(t.when_reason(ExitReason::io)), string);
    t.must("cr0", t.page(offsetof(VcpuState, cr0), 8),
           seen(t, F::GUEST_CR0, F::CR0_SHADOW, F::CR0_MASK), on);
    t.must("cr4", t.page(offsetof(VcpuState, cr4), 8),
           seen(t, F::GUEST_CR4, F::CR4_SHADOW, F::CR4_MASK), on);
    t.must("cr3", t.page(offsetof(VcpuState, cr3), 8), t.then[F::GUEST_CR3], on);
    t.must("efer", t.page(offsetof(VcpuState, efer), 8), t.then[F::GUEST_EFER], on);
    t.must("cpl", t.page(offsetof(VcpuState, cpl), 4),
           keep(lshr(t.then[F::GUEST_SS_RIGHTS], num(64, 5)), 3), on);
    segment_claims(t, "cs as to the mode", offsetof(VcpuState, cs), 1, on);
    segment_claims(t, "ss as to the mode", offsetof(VcpuState, ss), 2, on);
}

void info_claims(Told& t) {
    const auto info = [&](size_t i) { return t.page(offsetof(VcpuState, info) + 8 * i, 8); };
    const Term q = t.qualification();
    const Term interruption = t.then[F::EXIT_INTERRUPTION_INFO];
    const auto flag = [&](uint64_t bits, uint64_t value) { return when(has(q, bits), value); };
    t.must("guest-physical address", info(0), t.then[F::GUEST_PHYSICAL_ADDRESS],
           t.when_reason(ExitReason::memory));
    namespace ept = defs::ept_violation;
    const Term walk = land(has(q, ept::LINEAR_VALID), lnot(has(q, ept::TRANSLATED)));
    t.must("memory access", info(1),
           bor(bor(flag(ept::WRITE, abi::memory_flag::write),
                   flag(ept::FETCH, abi::memory_flag::fetch)),
               bor(flag(ept::READABLE | ept::WRITABLE | ept::EXECUTABLE, abi::memory_flag::present),
                   when(walk, abi::memory_flag::page_walk))),
           t.when_reason(ExitReason::memory));
    t.must("vector", info(0), keep(interruption, 0xff), t.when_reason(ExitReason::exception));
    t.must("error code", info(1),
           ite(has(interruption, defs::interruption::ERROR_CODE_VALID),
               t.then[F::EXIT_INTERRUPTION_ERROR_CODE], num(64, 0)),
           t.when_reason(ExitReason::exception));
    t.must("fault address", info(2), q, t.when_reason(ExitReason::exception));
    for (const ExitReason r : {ExitReason::eoi, ExitReason::apic_write, ExitReason::apic_access})
        t.must("qualification", info(0), q, t.when_reason(r));
    // Bits 5:4 of a control register's are 1 where it is read; bit 4 of a debug register's.
    const Term reads = is(keep(q, 0x30), 0x10);
    for (const ExitReason r : {ExitReason::cr_access, ExitReason::dr_access})
        t.must("register", info(0), bor(keep(q, 0xf), ite(reads, num(64, 0), num(64, 16))),
               t.when_reason(r));
    t.must("exit reason of the processor", info(0), t.code(),
           land(lor({t.when_reason(ExitReason::svm_vmx_instruction),
                     t.when_reason(ExitReason::unknown), t.when_reason(ExitReason::entry_refused)}),
                is(zext(named_bits("vmx_run", 32), 64), 0)));
    t.must("why VMX refused", info(1), t.then[F::INSTRUCTION_ERROR],
           lnot(is(zext(named_bits("vmx_run", 32), 64), 0)));
}

Term wanted_of(const Step& step) {
    for (const VolatileRead& r : step.engine.volatile_reads) {
        if (r.object->name == "state_pages" &&
            r.offset == static_cast<int64_t>(abi::vcpu_state_offset + offsetof(VcpuState, wanted)))
            return zext(r.value, 64);
    }
    throw Unsupported("nobody asks what the VMM wants");
}

} // namespace

void told_claims(Told& t) {
    common_claims(t);
    wanted_claims(t, wanted_of(t.exit.step));
    mode_claims(t);
    info_claims(t);
}

} // namespace horos::proofs::vmx

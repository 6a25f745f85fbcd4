// What a VMM is told when its guest stops: the reasons of horos/abi/vcpu_state.hpp for the exit
// codes of APM vol. 2, appendix C, and the fields of the page that each comes with.
#include "exit_view.hpp"
#include "kernel/core/entry.hpp"

namespace horos::proofs::entry {

namespace group = abi::group;

// The kernel's own affairs: host interrupts, NMI, INIT, and the guest's first use of DR0..DR3.
Term is_own(Told& t) {
    const Term extra =
        zext(t.exit.step.kernel.field("vcpus", "[].extra_exits", {t.exit.after->vcpu},
                                      t.exit.after->world, t.path),
             64);
    const Term debug =
        land({ule(num(64, 0x20), t.code()), ule(t.code(), num(64, 0x3f)),
              is(keep(t.code(), 0xc), 0), lnot(has(extra, abi::extra_exit::dr_access))});
    return lor({is(t.code(), 0x60), is(t.code(), 0x61), is(t.code(), 0x63), debug});
}

// An event whose delivery was cut off, to be injected again: not one whose instruction starts over
// (§15.7.2: INTn, INT3 and INTO).
Term to_replay(Term info) {
    const Term type = keep(lshr(info, num(64, 8)), 7);
    const Term vector = keep(info, 0xff);
    const Term starts_over = lor(is(type, 4), land(is(type, 3), lor(is(vector, 3), is(vector, 4))));
    constexpr uint64_t reserved = 0x7fff'f000;
    return ite(land(has(info, abi::event::valid), lnot(starts_over)), keep(info, ~reserved),
               num(64, 0));
}

namespace {

struct Range {
    uint64_t first, last;
    ExitReason reason;
};
constexpr Range reasons[] = {
    {0x00, 0x1f, ExitReason::cr_access},
    {0x20, 0x3f, ExitReason::dr_access},
    {0x40, 0x5f, ExitReason::exception},
    {0x64, 0x64, ExitReason::window},
    {0x65, 0x65, ExitReason::cr_access},
    {0x66, 0x6d, ExitReason::descriptor_access},
    {0x6e, 0x6e, ExitReason::rdtsc},
    {0x6f, 0x6f, ExitReason::rdpmc},
    {0x70, 0x71, ExitReason::pushf_popf},
    {0x72, 0x72, ExitReason::cpuid},
    {0x73, 0x73, ExitReason::rsm},
    {0x74, 0x74, ExitReason::nmi_window},
    {0x75, 0x75, ExitReason::software_interrupt},
    {0x76, 0x76, ExitReason::invd},
    {0x77, 0x77, ExitReason::pause},
    {0x78, 0x78, ExitReason::hlt},
    {0x79, 0x79, ExitReason::invlpg},
    {0x7a, 0x7a, ExitReason::svm_vmx_instruction},
    {0x7b, 0x7b, ExitReason::io},
    {0x7d, 0x7d, ExitReason::task_switch},
    {0x7f, 0x7f, ExitReason::shutdown},
    {0x80, 0x80, ExitReason::svm_vmx_instruction},
    {0x81, 0x81, ExitReason::vmcall},
    {0x82, 0x86, ExitReason::svm_vmx_instruction},
    {0x87, 0x87, ExitReason::rdtscp},
    {0x89, 0x89, ExitReason::wbinvd},
    {0x8a, 0x8a, ExitReason::monitor},
    {0x8b, 0x8c, ExitReason::mwait},
    {0x8d, 0x8d, ExitReason::xsetbv},
    {0x400, 0x400, ExitReason::memory},
    {~uint64_t{0}, ~uint64_t{0}, ExitReason::entry_refused},
};
Term reason_of(Told& t) {
    Term reason = number_of(ExitReason::unknown);
    for (const Range& r : reasons)
        reason = ite(land(ule(num(64, r.first), t.code()), ule(t.code(), num(64, r.last))),
                     number_of(r.reason), reason);
    return ite(is(t.code(), 0x7c),
               ite(is(t.info1(), 0), number_of(ExitReason::rdmsr), number_of(ExitReason::wrmsr)),
               reason);
}

void common_goals(Told& t) {
    t.same("rax", offsetof(VcpuState, gpr), offsetof(Vmcb, save.rax), 8);
    t.same("rsp", offsetof(VcpuState, gpr) + 32, offsetof(Vmcb, save.rsp), 8);
    t.same("rip", offsetof(VcpuState, rip), offsetof(Vmcb, save.rip), 8);
    t.same("rflags", offsetof(VcpuState, rflags), offsetof(Vmcb, save.rflags), 8);
    t.must("interrupt_shadow", t.page(offsetof(VcpuState, interrupt_shadow), 4),
           keep(t.block(offsetof(Vmcb, control.int_state), 8), 1));
    const Term int_ctl = t.block(offsetof(Vmcb, control.int_ctl), 4);
    t.must("tpr", t.page(offsetof(VcpuState, tpr), 4), keep(int_ctl, 0xf));
    const Term delivering = t.exit.step.kernel.field("vcpus", "[].delivering", {t.exit.after->vcpu},
                                                     t.exit.after->world, t.path);
    const Term delivered =
        land(lnot(eq(zext(delivering, 64), num(64, 0))), lnot(has(int_ctl, 1u << 8)));
    const size_t pending = offsetof(VcpuState, pending_interrupt);
    t.must("pending_interrupt", t.page(pending, 8),
           ite(delivered, num(64, 0), t.page_in(t.exit.after->world, pending, 8)));
}

struct Pair {
    const char* name;
    size_t page, block;
    unsigned bytes;
};

void segment_goals(Told& t, const char* name, size_t field, size_t place, Term on) {
    const std::string n = name;
    t.same(n + ".selector", field, place, 2, on);
    t.same(n + ".attributes", field + 2, place + 2, 2, on);
    t.same(n + ".limit", field + 4, place + 4, 4, on);
    t.same(n + ".base", field + 8, place + 8, 8, on);
}

// Groups that the VMM wants at every exit.
void wanted_goals(Told& t) {
    static constexpr Pair segments[] = {
        {"es", offsetof(VcpuState, es), offsetof(Vmcb, save.es), 16},
        {"cs", offsetof(VcpuState, cs), offsetof(Vmcb, save.cs), 16},
        {"ss", offsetof(VcpuState, ss), offsetof(Vmcb, save.ss), 16},
        {"ds", offsetof(VcpuState, ds), offsetof(Vmcb, save.ds), 16},
        {"fs", offsetof(VcpuState, fs), offsetof(Vmcb, save.fs), 16},
        {"gs", offsetof(VcpuState, gs), offsetof(Vmcb, save.gs), 16},
        {"ldtr", offsetof(VcpuState, ldtr), offsetof(Vmcb, save.ldtr), 16},
        {"tr", offsetof(VcpuState, tr), offsetof(Vmcb, save.tr), 16},
        {"gdtr", offsetof(VcpuState, gdtr), offsetof(Vmcb, save.gdtr), 16},
        {"idtr", offsetof(VcpuState, idtr), offsetof(Vmcb, save.idtr), 16},
    };
    static constexpr Pair system[] = {
        {"star", offsetof(VcpuState, star), offsetof(Vmcb, save.star), 8},
        {"lstar", offsetof(VcpuState, lstar), offsetof(Vmcb, save.lstar), 8},
        {"cstar", offsetof(VcpuState, cstar), offsetof(Vmcb, save.cstar), 8},
        {"sfmask", offsetof(VcpuState, sfmask), offsetof(Vmcb, save.sfmask), 8},
        {"kernel_gs_base", offsetof(VcpuState, kernel_gs_base), offsetof(Vmcb, save.kernel_gs_base),
         8},
        {"sysenter_cs", offsetof(VcpuState, sysenter_cs), offsetof(Vmcb, save.sysenter_cs), 8},
        {"sysenter_esp", offsetof(VcpuState, sysenter_esp), offsetof(Vmcb, save.sysenter_esp), 8},
        {"sysenter_eip", offsetof(VcpuState, sysenter_eip), offsetof(Vmcb, save.sysenter_eip), 8},
        {"pat", offsetof(VcpuState, pat), offsetof(Vmcb, save.g_pat), 8},
    };
    const auto wants = [&](uint64_t g) { return has(t.wanted, g); };
    for (const Pair& p : segments)
        segment_goals(t, p.name, p.page, p.block, wants(group::segments));
    for (const Pair& p : system)
        t.same(p.name, p.page, p.block, 8, wants(group::system));
    t.same("cr2", offsetof(VcpuState, cr2), offsetof(Vmcb, save.cr2), 8,
           wants(group::fault_address));
    t.same("dr6", offsetof(VcpuState, dr6), offsetof(Vmcb, save.dr6), 8, wants(group::debug));
    t.same("dr7", offsetof(VcpuState, dr7), offsetof(Vmcb, save.dr7), 8, wants(group::debug));
    for (uint64_t i = 0; i < 4; ++i)
        t.must("dr" + std::to_string(i), t.page(offsetof(VcpuState, dr) + 8 * i, 8),
               t.exit.step.kernel.field("vcpus", "[].dr[]", {t.exit.after->vcpu, num(32, i)},
                                        t.exit.step.now, t.path),
               wants(group::debug));
}

// What it does not want is as it was, but for the segments that every exit may tell.
void unwanted_goals(Told& t) {
    const auto left = [&](const char* name, size_t field, uint64_t group) {
        t.must(std::string(name) + " is left alone", t.page(field, 8),
               t.page_in(t.exit.after->world, field, 8), lnot(has(t.wanted, group)));
    };
    left("cr2", offsetof(VcpuState, cr2), group::fault_address);
    left("es", offsetof(VcpuState, es) + 8, group::segments);
    left("dr0", offsetof(VcpuState, dr), group::debug);
    left("dr6", offsetof(VcpuState, dr6), group::debug);
    left("dr7", offsetof(VcpuState, dr7), group::debug);
    left("star", offsetof(VcpuState, star), group::system);
    left("pat", offsetof(VcpuState, pat), group::system);
}

// How the guest's instructions are to be understood: told but where none needs decoding.
void mode_goals(Told& t, Term on) {
    static constexpr Pair registers[] = {
        {"cr0", offsetof(VcpuState, cr0), offsetof(Vmcb, save.cr0), 8},
        {"cr3", offsetof(VcpuState, cr3), offsetof(Vmcb, save.cr3), 8},
        {"cr4", offsetof(VcpuState, cr4), offsetof(Vmcb, save.cr4), 8},
    };
    for (const Pair& p : registers)
        t.same(p.name, p.page, p.block, p.bytes, on);
    t.must("efer", t.page(offsetof(VcpuState, efer), 8),
           keep(t.block(offsetof(Vmcb, save.efer), 8), ~(uint64_t{1} << 12)), on);
    segment_goals(t, "cs as to the mode", offsetof(VcpuState, cs), offsetof(Vmcb, save.cs), on);
    segment_goals(t, "ss as to the mode", offsetof(VcpuState, ss), offsetof(Vmcb, save.ss), on);
    t.must("cpl", t.page(offsetof(VcpuState, cpl), 4), t.block(offsetof(Vmcb, save.cpl), 1), on);
}

void info_goals(Told& t, Term reason) {
    const auto info = [&](size_t i) { return t.page(offsetof(VcpuState, info) + 8 * i, 8); };
    const auto when = [&](ExitReason r) { return eq(reason, number_of(r)); };
    t.must("port access", info(0), t.info1(), when(ExitReason::io));
    t.must("guest-physical address", info(0), t.info2(), when(ExitReason::memory));
    constexpr uint64_t flags = abi::memory_flag::present | abi::memory_flag::write |
                               abi::memory_flag::fetch | abi::memory_flag::page_walk;
    t.must("memory access", info(1), keep(t.info1(), flags), when(ExitReason::memory));
    t.must("vector", info(0), sub(t.code(), num(64, 0x40)), when(ExitReason::exception));
    t.must("error code", info(1), t.info1(), when(ExitReason::exception));
    t.must("fault address", info(2), t.info2(), when(ExitReason::exception));
    t.must("debug register", info(0), sub(t.code(), num(64, 0x20)), when(ExitReason::dr_access));
    t.must("control register", info(0), ite(is(t.code(), 0x65), num(64, 16), t.code()),
           when(ExitReason::cr_access));
    t.must("exit code", info(0), t.code(),
           lor({when(ExitReason::svm_vmx_instruction), when(ExitReason::entry_refused),
                when(ExitReason::unknown)}));
    // Bytes of the instruction, where the processor tells them: up to 15 (§15.8.4).
    const Term assists = lnot(eq(
        t.exit.step.kernel.field("machine", ".has_decode_assist", {}, t.exit.step.now), num(8, 0)));
    const Term fetched = t.block(offsetof(Vmcb, control.instruction_bytes_fetched), 1);
    const Term known = land(assists, ult(fetched, num(64, 16)));
    t.must("instruction_count", t.page(offsetof(VcpuState, instruction_count), 4),
           ite(known, fetched, num(64, 0)), when(ExitReason::memory));
    for (size_t i = 0; i < 15; ++i) {
        const unsigned low = static_cast<unsigned>(i % 8) * 8;
        t.must("byte " + std::to_string(i) + " of the instruction",
               zext(extract(low + 7, low, t.page(offsetof(VcpuState, instruction) + i / 8 * 8, 8)),
                    64),
               t.block(offsetof(Vmcb, control.instruction_bytes) + i, 1),
               land(when(ExitReason::memory), known));
    }
}

// What the guest stopped for, and where.
void reason_goals(Told& t) {
    const Term reason = reason_of(t);
    t.must("exit_reason", t.page(offsetof(VcpuState, exit_reason), 4), reason);
    t.must("reason in the answer", lshr(t.word, num(64, core::result_value_shift)), reason);
    t.must("no error", keep(t.word, 0xffff'ffff), num(64, 0));
    t.must("next_rip", t.page(offsetof(VcpuState, next_rip), 8),
           ite(eq(reason, number_of(ExitReason::io)), t.info2(),
               t.block(offsetof(Vmcb, control.next_rip), 8)));
    t.must("interrupted_event", t.page(offsetof(VcpuState, interrupted_event), 8),
           to_replay(t.block(offsetof(Vmcb, control.exit_int_info), 8)));
    t.must("nothing is left to inject",
           bytes_of(t.exit.step, t.exit.step.now, t.path, "vmcbs", t.exit.after->control,
                    offsetof(Vmcb, control.event_inj), 8),
           num(64, 0));
    t.goals.emplace_back("an affair of the kernel's is told",
                         land({t.path.term(), t.valid, is_own(t)}));
    const Term string = has(t.info1(), abi::io_access::string);
    mode_goals(t, lor(lnot(eq(reason, number_of(ExitReason::io))), string));
    info_goals(t, reason);
}

} // namespace

void told_goals(Told& t) {
    common_goals(t);
    wanted_goals(t);
    unwanted_goals(t);
    reason_goals(t);
}

} // namespace horos::proofs::entry

// What is true of every virtual CPU between two runs, on VMX: what its VMCS has in it, and how that
// goes with what the kernel keeps beside. It is shown of a new one, and of one that has run or has
// been asked to; so it can be assumed at the start of either.
#include "kernel/arch/cpu.hpp"
#include "kernel/vmx/vmx.hpp"
#include "vmx_fields.hpp"

#include <horos/abi/vcpu_state.hpp>

namespace horos::proofs::vmx {

namespace {

namespace defs = horos::vmx;
namespace mandatory = core::mandatory_vmx;
namespace extra = abi::extra_exit;

// Of the guest's state, and of the event that is to be injected.
bool is_of_guest(const model::RuleInfo& rule) {
    return rule.phase == model::Phase::GUEST ||
           (rule.id >= Rule::EVENT_TYPE && rule.id <= Rule::EVENT_LENGTH) ||
           rule.id == Rule::EVENT_ERROR_CODE_15;
}

// The entry to come, if nothing else is to be injected: what arm() writes (§24.8.3).
Inputs armed(const View& view, Term event) {
    Inputs in = inputs(view);
    const Term real = lnot(has(view[F::GUEST_CR0], x86::cr0::PE));
    const Term info = keep(event, defs::interruption::EVENT);
    const Term plain = keep(info, ~uint64_t{defs::interruption::ERROR_CODE_VALID});
    const Term nmi = land(
        has(event, defs::interruption::VALID),
        is(keep(event, defs::interruption::TYPE), static_cast<uint64_t>(defs::InterruptionType::NMI)
                                                      << defs::interruption::TYPE_SHIFT));
    const Term blocking = view[F::GUEST_INTERRUPTIBILITY];
    in[F::PROC_CONTROLS].t = view.row("[].vmx.proc_controls");
    in[F::ENTRY_INTERRUPTION_INFO].t = ite(real, plain, info);
    in[F::ENTRY_EXCEPTION_ERROR_CODE].t = lshr(event, num(64, 32));
    in[F::GUEST_INTERRUPTIBILITY].t =
        ite(nmi, keep(blocking, ~uint64_t{defs::interruptibility::BLOCKING_BY_NMI}), blocking);
    return in;
}

void control_facts(const View& v, Claims& all) {
    const auto fact = [&](const char* what, Term t) { all.emplace_back(what, t); };
    const Term asked = v.row("[].extra_exits");
    const Term way = v.row("[].vmx.virtual_apic");
    const Term long_mode = has(v[F::GUEST_EFER], x86::efer::LMA);
    fact("pin-based controls",
         eq(v[F::PIN_CONTROLS], v.limit(offsetof(core::VmxLimits, controls.pin))));
    fact("exit controls",
         eq(v[F::EXIT_CONTROLS], v.limit(offsetof(core::VmxLimits, controls.exit))));
    fact("entry controls",
         eq(v[F::ENTRY_CONTROLS], bor(v.limit(offsetof(core::VmxLimits, controls.entry)),
                                      when(long_mode, defs::entry_ctl::IA32E_MODE_GUEST))));
    Term apic = num(64, 0);
    for (uint32_t w = 1; w <= abi::virtual_apic::task_priority; ++w) {
        if (w != 3)
            apic = ite(is(way, w), num(64, mandatory::apic_controls[w]), apic);
    }
    fact("secondary controls", eq(v[F::PROC_CONTROLS_2],
                                  bor(bor(v.limit(offsetof(core::VmxLimits, controls.proc2)), apic),
                                      when(has(asked, extra::descriptor_access),
                                           defs::proc2::DESCRIPTOR_TABLE_EXITING))));
    fact("a way of the APIC that there is",
         land(lor({is(way, 0), is(way, 1), is(way, 2), is(way, 4)}),
              is(band(way, bxor(v.limit(offsetof(core::VmxLimits, virtual_apics)),
                                num(64, ~uint64_t{0}))),
                 0)));
    fact("exceptions", eq(v[F::EXCEPTION_BITMAP],
                          bor(v.row("[].exception_exits"), num(64, mandatory::exceptions))));
    const Term optional = bor(
        bor(bor(when(has(asked, extra::pause), defs::proc::PAUSE_EXITING),
                when(has(asked, extra::rdtsc), defs::proc::RDTSC_EXITING)),
            bor(when(has(asked, extra::invlpg), defs::proc::INVLPG_EXITING),
                when(has(asked, extra::cr3_write), defs::proc::CR3_LOAD_EXITING))),
        when(has(asked, extra::cr8), defs::proc::CR8_LOAD_EXITING | defs::proc::CR8_STORE_EXITING));
    fact("primary controls to be",
         eq(v.row("[].vmx.proc_controls"),
            bor(v.limit(offsetof(core::VmxLimits, controls.proc)), optional)));
    for (const F field :
         {F::PF_ERROR_CODE_MASK, F::PF_ERROR_CODE_MATCH, F::CR3_TARGET_COUNT,
          F::ENTRY_INSTRUCTION_LENGTH, F::GUEST_ACTIVITY, F::GUEST_DEBUGCTL, F::HOST_ES_SELECTOR,
          F::HOST_DS_SELECTOR, F::HOST_FS_SELECTOR, F::HOST_GS_SELECTOR, F::HOST_SYSENTER_CS,
          F::HOST_SYSENTER_ESP, F::HOST_SYSENTER_EIP})
        all.emplace_back("zero: " + std::string(model::field_info(field).name), is(v[field], 0));
    fact("nothing is injected by itself",
         lnot(has(v[F::ENTRY_INTERRUPTION_INFO], defs::interruption::VALID)));
    const Term event = v.row("[].vmx.event");
    fact("an event is none or valid", lor(is(event, 0), has(event, defs::interruption::VALID)));
    // Enclaves need memory that no guest is given.
    fact("no enclave",
         lnot(has(v[F::GUEST_INTERRUPTIBILITY], defs::interruptibility::ENCLAVE_INTERRUPTION)));
    fact("no link", is(v[F::VMCS_LINK_POINTER], defs::NO_LINK_POINTER));
}

void address_facts(const View& v, Claims& all) {
    const auto fact = [&](const char* what, Term t) { all.emplace_back(what, t); };
    const Term list = add(v.address(zext(v.vcpu, 64)),
                          num(64, offsetof(core::Vcpu, vmx) + offsetof(core::VmxState, msrs)));
    fact("virtual-APIC page", eq(v[F::VIRTUAL_APIC_ADDRESS], v.address(v.row("[].state"))));
    fact("MSRs to store", land(eq(v[F::EXIT_MSR_STORE_ADDRESS], list),
                               is(v[F::EXIT_MSR_STORE_COUNT], core::switched_count)));
    fact("MSRs to load", land(eq(v[F::ENTRY_MSR_LOAD_ADDRESS], list),
                              is(v[F::ENTRY_MSR_LOAD_COUNT], core::switched_count)));
    fact("number of the host's MSRs", is(v[F::EXIT_MSR_LOAD_COUNT], core::switched_count));
    const Term in_page = has(v.row("[].vmx.virtual_apic"), abi::virtual_apic::in_page);
    fact("APIC-access page",
         implies(in_page, land(eq(v[F::APIC_ACCESS_ADDRESS], v.address(v.row("[].vmx.apic_page"))),
                               lnot(is(v.row("[].vmx.apic_page"), 0)))));
    // With a tag that is in force and no change of its space since.
    const auto map = [&](const char* own, const char* usual) {
        const Term f = v.space(own);
        return ite(is(f, 0), v.machine(usual), f);
    };
    const Term current = land(eq(v.row("[].tlb_era"), v.core("[].tlb_era")),
                              eq(v.row("[].flushes_seen"), v.space("[].flushes")));
    const Term here = land(current, eq(v.row("[].core"), zext(v.step.kernel.this_core, 64)));
    const Term second = when(is(v.row("[].vmx.virtual_apic"), abi::virtual_apic::x2apic), 1);
    const Term io = map("[].io_map", ".io_map");
    fact("tables, tag and maps are those of the space",
         implies(
             here,
             land({eq(v[F::EPTP], bor(v.address(v.space("[].root")),
                                      num(64, defs::eptp::TYPE_WB | defs::eptp::WALK_4))),
                   eq(v[F::VPID], v.row("[].tlb_tag")), eq(v[F::IO_BITMAP_A], v.address(io)),
                   eq(v[F::IO_BITMAP_B], v.address(add(io, num(64, 1)))),
                   eq(v[F::MSR_BITMAP], v.address(add(map("[].msr_map", ".msr_map"), second)))})));
}

// Control registers: what the guest sees of them, and what it has.
void mask_facts(const View& v, Claims& all) {
    const auto fact = [&](const char* what, Term t) { all.emplace_back(what, t); };
    const Term asked = v.row("[].extra_exits");
    const Term ones = num(64, ~uint64_t{0});
    const Term cr4 = v.limit(offsetof(core::VmxLimits, cr4));
    fact("CR0 mask",
         eq(v[F::CR0_MASK], ite(has(asked, extra::cr0_write), ones, num(64, core::shadowed_cr0))));
    fact("CR4 mask", eq(v[F::CR4_MASK], ite(has(asked, extra::cr4_write), ones, bxor(cr4, ones))));
    fact(
        "CR0 and its shadow",
        is(keep(band(bxor(v[F::GUEST_CR0], v[F::CR0_SHADOW]), v[F::CR0_MASK]), ~core::shadowed_cr0),
           0));
    fact("CR4 and its shadow",
         is(band(bxor(v[F::GUEST_CR4], v[F::CR4_SHADOW]), band(v[F::CR4_MASK], cr4)), 0));
    fact("CR4", is(band(v[F::GUEST_CR4], bxor(bor(cr4, num(64, x86::cr4::VMXE)), ones)), 0));
    fact("EFER", is(keep(v[F::GUEST_EFER], ~core::guest_efer), 0));
}

} // namespace

Claims facts(const View& view, Term event) {
    Claims all;
    control_facts(view, all);
    address_facts(view, all);
    mask_facts(view, all);
    const Inputs in = armed(view, event != nullptr ? event : view.row("[].vmx.event"));
    for (const model::RuleInfo& rule : model::all_rules()) {
        if (is_of_guest(rule))
            all.emplace_back(rule.name, holds(view, rule.id, in));
    }
    return all;
}

Claims host_facts(const View& v) {
    const Term area = address_of(this_core_area);
    const auto part = [&](size_t offset) { return add(area, num(64, offset)); };
    const Term frame =
        add(add(v.one("machine", ".host_frames"), shl(v.step.kernel.this_core, num(32, 1))),
            num(32, 1));
    const Term list = v.address(zext(frame, 64));
    struct Field {
        F field;
        Term value;
    };
    const Field all[] = {
        {F::HOST_CR0, host_control(0)},
        {F::HOST_CR4, host_control(4)},
        {F::HOST_CS_SELECTOR, num(64, SEL_KERNEL_CODE)},
        {F::HOST_SS_SELECTOR, num(64, SEL_KERNEL_DATA)},
        {F::HOST_TR_SELECTOR, num(64, SEL_TSS)},
        {F::HOST_GS_BASE, area},
        {F::HOST_TR_BASE, part(offsetof(arch::PerCpu, tss))},
        {F::HOST_GDTR_BASE, part(offsetof(arch::PerCpu, gdt))},
        {F::HOST_IDTR_BASE, host_idt_base()},
        {F::HOST_PAT, host_msr(x86::msr::PAT)},
        {F::HOST_EFER, host_msr(x86::msr::EFER)},
        {F::HOST_RIP, address_of("vmx_exit_point")},
        {F::EXIT_MSR_LOAD_ADDRESS, list},
    };
    Claims claims;
    for (const Field& f : all)
        claims.emplace_back("host: " + std::string(model::field_info(f.field).name),
                            eq(v[f.field], f.value));
    return claims;
}

Claims host_assumptions(const View& view) {
    Inputs in = inputs(view);
    const Term area = address_of(this_core_area);
    in[F::HOST_CR0].t = host_control(0);
    in[F::HOST_CR3].t = host_control(3);
    in[F::HOST_CR4].t = host_control(4);
    in[F::HOST_GS_BASE].t = area;
    in[F::HOST_TR_BASE].t = add(area, num(64, offsetof(arch::PerCpu, tss)));
    in[F::HOST_GDTR_BASE].t = add(area, num(64, offsetof(arch::PerCpu, gdt)));
    in[F::HOST_IDTR_BASE].t = host_idt_base();
    in[F::HOST_PAT].t = host_msr(x86::msr::PAT);
    in[F::HOST_EFER].t = host_msr(x86::msr::EFER);
    in[F::HOST_RIP].t = address_of("vmx_exit_point");
    in[F::EXIT_CONTROLS].t = view.limit(offsetof(core::VmxLimits, controls.exit));
    Claims all;
    for (const Rule rule :
         {Rule::HOST_CR0, Rule::HOST_CR4, Rule::HOST_CET_WP, Rule::HOST_CR3, Rule::HOST_PAT,
          Rule::HOST_EFER_RESERVED, Rule::HOST_EFER_MODE, Rule::HOST_GS_BASE, Rule::HOST_TR_BASE,
          Rule::HOST_GDTR_BASE, Rule::HOST_IDTR_BASE, Rule::HOST_SIZE_64, Rule::HOST_PAE,
          Rule::HOST_RIP})
        all.emplace_back("host", holds(view, rule, in));
    return all;
}

} // namespace horos::proofs::vmx

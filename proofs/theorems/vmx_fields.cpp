#include "vmx_fields.hpp"
#include "kernel/vmx/vmx.hpp"

namespace horos::proofs::vmx {

namespace {

namespace mandatory = core::mandatory_vmx;
namespace defs = horos::vmx;

bool has_all(const model::Allowed& allowed, uint32_t bits) { return (allowed.one & bits) == bits; }
bool is_enough(const model::Profile& p) {
    return has_all(p.pin, mandatory::pin_controls) && has_all(p.proc, mandatory::proc_controls) &&
           has_all(p.proc2, mandatory::proc_controls_2) &&
           has_all(p.exit, mandatory::exit_controls) && has_all(p.entry, mandatory::entry_controls);
}

uint64_t virtual_apics(const model::Profile& p) {
    uint64_t ways = 0;
    for (uint32_t way = 1; way <= abi::virtual_apic::task_priority; ++way) {
        if ((mandatory::apic_controls[way] & ~p.proc2.one) == 0)
            ways |= way;
    }
    return ways;
}

} // namespace

void declare_fields(llvm::Module& module) {
    if (module.getGlobalVariable(fields_table) != nullptr)
        return;
    auto* type =
        llvm::ArrayType::get(llvm::Type::getInt64Ty(module.getContext()), launched_slot + 1);
    new llvm::GlobalVariable(module, type, false, llvm::GlobalValue::ExternalLinkage, nullptr,
                             fields_table);
}

Term as_wide(F field, Term value) {
    switch (defs::width(field)) {
    case defs::FieldWidth::BITS_16:
        return zext(extract(15, 0, value), 64);
    case defs::FieldWidth::BITS_32:
        return zext(extract(31, 0, value), 64);
    default:
        return value;
    }
}

Term slot_of(Kernel& kernel, size_t slot, const World& world, const Guard& guard) {
    return kernel.field(fields_table, "[]", {num(32, slot)}, const_cast<World&>(world), guard);
}

void set_slot(Kernel& kernel, size_t slot, Term value, World& world, const Guard& guard) {
    slot_of(kernel, slot, kernel.old, {}); // the table's only leaf is known then
    const Object* table = kernel.objects.find(fields_table);
    Entry e;
    e.guard = guard;
    e.leaf = table->leaves.begin()->second.get();
    e.indices = {num(32, slot)};
    e.value = Value::of(value);
    world.add(*table, e);
}

Term View::limit(size_t place) const {
    Object* limits = step.kernel.objects.find("vmx_limits");
    Offset at;
    at.add(static_cast<int64_t>(place));
    std::string problem;
    const auto pieces = step.kernel.objects.pieces(*limits, at, 1, problem);
    return zext(step.kernel.old.load(*pieces.at(0).leaf, {}, {}).bits, 64);
}

Term host_control(unsigned which) { return named_bits("host.cr" + std::to_string(which), 64); }
Term host_msr(uint32_t number) { return named_bits("host.msr." + std::to_string(number), 64); }
Term host_idt_base() { return named_bits("host.idt", 64); }
Term address_of(const std::string& object) { return named_bits("address of " + object, 64); }

const std::vector<const model::Profile*>& profiles() {
    static const std::vector<const model::Profile*> all = [] {
        std::vector<const model::Profile*> some;
        for (const model::Profile& p : model::builtin_profiles()) {
            if (is_enough(p))
                some.push_back(&p);
        }
        return some;
    }();
    return all;
}

// kernel/vmx/machine.cpp: vmx_init
Term runs_on(const View& view, const model::Profile& p) {
    const auto controls = [&](size_t place, const model::Allowed& allowed, uint32_t wanted) {
        return is(view.limit(place), wanted | allowed.zero);
    };
    constexpr uint64_t never = x86::cr4::VMXE | x86::cr4::CET;
    return land(
        {controls(offsetof(core::VmxLimits, controls.pin), p.pin,
                  mandatory::pin_controls | (p.pin.one & defs::pin::PREEMPTION_TIMER)),
         controls(offsetof(core::VmxLimits, controls.proc), p.proc,
                  mandatory::proc_controls | defs::proc::MOV_DR_EXITING),
         is(view.limit(offsetof(core::VmxLimits, controls.proc2)),
            mandatory::proc_controls_2 | (p.proc2.one & defs::proc2::ENABLE_INVPCID)),
         controls(offsetof(core::VmxLimits, controls.exit), p.exit, mandatory::exit_controls),
         controls(offsetof(core::VmxLimits, controls.entry), p.entry, mandatory::entry_controls),
         is(keep(view.limit(offsetof(core::VmxLimits, cr4)), ~p.cr4_fixed1 | never), 0),
         is(view.limit(offsetof(core::VmxLimits, cr0_fixed)),
            p.cr0_fixed0 & ~(x86::cr0::PE | x86::cr0::PG)),
         is(view.limit(offsetof(core::VmxLimits, any_length)),
            (p.misc & defs::misc::INJECT_LENGTH_0) != 0),
         is(view.limit(offsetof(core::VmxLimits, virtual_apics)), virtual_apics(p)),
         is(view.machine(".physical_bits"), p.physical_bits),
         is(view.machine(".tlb_tags"), 0x1'0000)});
}

Inputs inputs(const View& view) {
    Inputs in;
    for (const model::InputInfo& input : model::rule_inputs())
        in.value[input.input].t = named_bits("input " + std::string(input.name), 64);
    for (const model::FieldInfo& f : model::vmcs_fields())
        in[f.field].t = view[f.field];
    const auto set = [&](model::Extra e, Term value) { in[e].t = value; };
    set(model::Extra::VMX_OPERATION, num(64, 1)); // as the kernel runs
    set(model::Extra::CPL, num(64, 0));
    set(model::Extra::CR0, host_control(0));
    set(model::Extra::RFLAGS, num(64, x86::rflags::ONE));
    set(model::Extra::EFER, host_msr(x86::msr::EFER));
    set(model::Extra::CS_L, num(64, 1));
    set(model::Extra::CURRENT_VMCS, view.slot(current_slot));
    set(model::Extra::SHADOW_VMCS, num(64, 0));
    set(model::Extra::MOV_SS, num(64, 0));
    set(model::Extra::LAUNCHED, view.slot(launched_slot));
    return in;
}

Term holds(const View& view, Rule rule, const Inputs& in) {
    std::map<Term, std::vector<Term>> ways; // formulas, and the processors that have them
    for (const model::Profile* p : profiles()) {
        if (model::rule_applies(rule, *p))
            ways[model::evaluate_rule<TermDomain>(rule, in, *p).t].push_back(runs_on(view, *p));
    }
    std::vector<Term> all;
    for (const auto& [formula, on] : ways)
        all.push_back(implies(lor(on), formula));
    return land(all);
}

} // namespace horos::proofs::vmx

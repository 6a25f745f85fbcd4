// What is in a VMCS, and what a processor with VMX is like, as the theorems see both.
#pragma once
#include "horos/model/vmx/evaluate.hpp"
#include "model_terms.hpp"
#include "theorem.hpp"

namespace horos::proofs::vmx {

namespace model = horos::model::vmx;
using F = horos::vmx::Field;
using Rule = horos::vmx::RuleId;
using Inputs = model::RuleInputs<TermDomain>;
using Claims = std::vector<std::pair<std::string, Term>>; // each is to hold

// The table that stands for the content of one VMCS: a number for each field, then the address of
// the processor's current VMCS (all ones: none), and whether the one that is followed is launched.
inline constexpr const char* fields_table = "vmcs_fields";
inline constexpr size_t current_slot = model::FIELD_SLOTS;
inline constexpr size_t launched_slot = current_slot + 1;
inline constexpr uint64_t no_vmcs = ~uint64_t{0};
void declare_fields(llvm::Module& module);
// As VMREAD gives it: as wide as the field is.
Term as_wide(F field, Term value);
Term slot_of(Kernel& kernel, size_t slot, const World& world, const Guard& guard);
void set_slot(Kernel& kernel, size_t slot, Term value, World& world, const Guard& guard);

// A register of the host's, as this core reads it whenever it does.
Term host_control(unsigned which); // CR0, CR3, CR4
Term host_msr(uint32_t number);
Term host_idt_base();
Term address_of(const std::string& object);

// A virtual CPU in a state, with its VMCS.
struct View {
    Step& step;
    Guard guard;
    World& world;
    Term vcpu;

    Term operator[](F field) const {
        return as_wide(field, slot_of(step.kernel, model::slot_of(field), world, guard));
    }
    Term slot(size_t n) const { return slot_of(step.kernel, n, world, guard); }
    Term narrow(const char* table, const char* path, Term row) const {
        return step.kernel.field(table, path, {row}, world, guard);
    }
    // 64 bits wide
    Term row(const char* path) const { return zext(narrow("vcpus", path, vcpu), 64); }
    Term core(const char* path) const {
        return zext(narrow("cores", path, step.kernel.this_core), 64);
    }
    Term space(const char* path) const {
        return zext(narrow("spaces", path, narrow("vcpus", "[].space", vcpu)), 64);
    }
    Term machine(const char* path) const { return zext(one("machine", path), 64); }
    Term limit(size_t place) const; // of vmx_limits, by its offset there
    Term one(const char* table, const char* path) const {
        return step.kernel.field(table, path, {}, step.kernel.old);
    }
    Term address(Term frame) const { return shl(frame, num(64, 12)); }
    bool operator==(const View&) const = delete;
};

// The model's processors that the kernel runs on (vmx_missing), and that it runs on one: what
// vmx_init and the boot code find then.
const std::vector<const model::Profile*>& profiles();
Term runs_on(const View& view, const model::Profile& profile);

// What a rule reads at an entry in this state.
Inputs inputs(const View& view);
// The rule holds on each of the processors.
Term holds(const View& view, Rule rule, const Inputs& in);

// What is true of every virtual CPU that does not run: vmx_facts.cpp.
// With an event: that one in place of the one that the kernel keeps.
Claims facts(const View& view, Term event = nullptr);
// Host's state in the VMCS of which this core says that it is its own.
Claims host_facts(const View& view);
// What the host is like: it runs, on that processor, with these registers.
Claims host_assumptions(const View& view);

inline Term has(Term value, uint64_t bits) {
    return lnot(eq(band(value, num(64, bits)), num(64, 0)));
}
inline Term keep(Term value, uint64_t bits) { return band(value, num(64, bits)); }
inline Term is(Term value, uint64_t n) { return eq(value, num(64, n)); }
inline Term when(Term condition, uint64_t bits) {
    return ite(condition, num(64, bits), num(64, 0));
}

} // namespace horos::proofs::vmx

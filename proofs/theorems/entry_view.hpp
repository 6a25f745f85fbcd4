// A virtual CPU at its entry, as the theorems about the entry guard see it: fields of the control
// block, the model's rules over them, the processors that are looked at.
#pragma once
#include "horos/model/svm/profile.hpp"
#include "horos/model/svm/rule_predicates.hpp"
#include "kernel/svm/svm.hpp"
#include "model_terms.hpp"
#include "theorem.hpp"

namespace horos::proofs::entry {

namespace svm = model::svm;
using svm::RuleField;
using svm::RuleId;
using Inputs = svm::RuleInputs<TermDomain>;

// A field of a table's row, by its place there; widened to 64 bits.
Term bytes_of(Step& step, const World& world, const Guard& guard, const char* table, Term row,
              size_t offset, unsigned bytes);

// What a theorem about an entry looks at.
struct View {
    Step& step;
    Guard guard;
    World& world;
    Term core, vcpu, control;

    View(Step& s, const Guard& g, World& w)
        : step(s), guard(g), world(w), core(s.kernel.this_core) {
        vcpu = field("threads", "[].vcpu", field("cores", "[].thread", core));
        control = field("vcpus", "[].control", vcpu);
    }
    Term field(const char* table, const char* path, Term row) const {
        return step.kernel.field(table, path, {row}, world, guard);
    }
    Term machine(const char* path) const {
        return step.kernel.field("machine", path, {}, world, guard);
    }
    // A number of the control block, by its place there.
    Term number(unsigned offset, unsigned bytes) const {
        return bytes_of(step, world, guard, "vmcbs", control, offset, bytes);
    }
};

// What the rules read, in that state; the VMCB is at `address`.
Inputs inputs(const View& view, Term address);
// That the kernel runs on a processor of this profile: what svm_init and the boot code find then.
Term runs_on(const View& view, const svm::Profile& profile);
// The model's processors that have nested paging.
std::vector<const svm::Profile*> profiles();

// The moment before a VMRUN.
struct Vmrun {
    Guard guard;
    World world;
    Value vmcb; // its address
};
// Every VMRUN that `run`, which takes the step, comes to.
std::vector<Vmrun> entries_of(Step& step, const std::function<void()>& run);
// Without one the statement is empty.
void need_entry(Result& result, const std::vector<Vmrun>& entries);

using Goals = std::vector<std::pair<std::string, Term>>;
void prove_all(Step& step, Result& result, const Goals& goals);

// Any row of a table: whether some field of it differs from the old state. With `all`, also those
// of a control block that a request may change.
Term changed(Step& step, const char* table, World& now, const Guard& guard, bool all);

// What an accepted request asks for is in the control block, and all else is as it was.
Result requests(Bitcode& code, const Settings& settings, unsigned number);
// A request that is refused breaks the rule that is named, and nothing changes.
Result refusals(Bitcode& code, const Settings& settings, unsigned number);

} // namespace horos::proofs::entry

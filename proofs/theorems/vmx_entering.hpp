// A step that makes an entry into a guest, or that makes one possible, with the VMCS that it is
// about.
#pragma once
#include "kernel/core/state.hpp"
#include "vmx_fields.hpp"

namespace horos::proofs::vmx {

// The moment before VMLAUNCH or VMRESUME.
struct Entered {
    Guard guard;
    World world;
    Term resumes; // the argument that chooses between the two
};

struct Entering {
    Step step;
    Term vcpu = nullptr;
    std::vector<Entered> entries;

    Entering(Bitcode& code, const Settings& settings) : step(code, settings, core::Vendor::vmx) {
        step.engine.obligations_on = false; // vmx-safety/ is about these
        const auto usual = step.kernel.policy.external;
        step.kernel.policy.external = [this, usual](Executor& engine, const Call& call,
                                                    Value& out) {
            if (call.name.starts_with("vmx_") && step.kernel.followed == nullptr)
                follow(engine, call.guard);
            if (call.name == "vmx_run")
                entries.push_back({call.guard, engine.world(), call.arguments.at(1).bits});
            return usual(engine, call, out);
        };
    }
    // The first virtual CPU that the step looks at is the one that it is about.
    void follow(Executor& engine, const Guard& guard) {
        for (const auto& [object, indices] : engine.touched) {
            if (object->name == "vcpus" && vcpu == nullptr)
                vcpu = indices.at(0);
        }
        if (vcpu == nullptr)
            throw Unsupported("no virtual CPU is looked at before its VMCS");
        const View now = view(engine.world(), guard); // it can be new
        step.kernel.followed = now.address(now.row("[].control"));
    }
    View view(World& world, const Guard& guard) { return {step, guard, world, vcpu}; }
    Term exists(const View& v) const {
        return eq(v.narrow("frames", "[].type", vcpu),
                  num(8, static_cast<uint64_t>(ObjectType::vcpu)));
    }
};

// What the processor holds is what the core says.
Claims held(const View& v);
// All that is true of a virtual CPU that exists, of this core, and of the processor.
void assume(Entering& e);
// Several at once, as they are much alike; one by one when that fails, to say which.
void claim(Step& step, Result& result, const std::string& at, Term where, const Claims& claims);
// An accepted request is in the VMCS: vmx_request.cpp.
Claims requested(Entering& e);
// Every VMREAD and VMWRITE is of the VMCS that is followed.
void access_goals(Entering& e, Result& result);
// What held at the start holds at the end.
void kept_goals(Entering& e, Result& result);

// ---- vmx_asked.cpp
// A virtual CPU that nobody runs is asked for something: what is true of its VMCS afterwards, or
// that it is what was asked for.
enum class Judge : uint8_t { facts, request };
Result asked(Entering& e, Judge judge);
Result made(Entering& e); // a new one
// vmx_take_state, by what is proved of it: a rule, or a VMCS that an entry can be made with.
struct InPlaceOfRequest {
    Entering& e;
    World after{};
    Guard path;

    explicit InPlaceOfRequest(Entering& entering) : e(entering) {}
    bool instead(Executor& engine, const Call& call, Value& result);
    void assume_proved();

private:
    void forget(World& world, const Object& object, const Leaf& leaf, Term row);
};

} // namespace horos::proofs::vmx

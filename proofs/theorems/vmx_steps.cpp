// What the instructions of VMX do, as far as the kernel's state goes (kernel/vmx/vmcs.S). A VMCS's
// content is no state of the core: a VMREAD gives back anything, a VMWRITE is an event.
#include "kernel.hpp"

namespace horos::proofs {

bool Kernel::vmx_step(Executor& engine, const Call& call, Value& result) {
    const std::string& n = call.name;
    if (n == "vmx_write") {
        // With the VMCS that it goes into, and the tag that is the newest of this core's.
        Event e{n, call.guard, call.arguments};
        const auto of_core = [&](const char* path) {
            return field("cores", path, {this_core}, engine.world(), call.guard);
        };
        e.arguments.push_back(Value::of(of_core("[].control")));
        e.arguments.push_back(Value::of(sub(of_core("[].tlb_next"), num(32, 1))));
        engine.events.push_back(std::move(e));
        return true;
    }
    if (n == "vmx_read" || n == "vmx_clear" || n == "vmx_load" || n == "vmx_invept" ||
        n == "vmx_invvpid") {
        const unsigned width = call.instruction->getType()->getIntegerBitWidth();
        result = Value::of(named_bits(n + "#" + std::to_string(++calls), width));
        engine.events.push_back({n, call.guard, call.arguments, result.bits});
        return true;
    }
    if (n != "vmx_run")
        return false;
    engine.events.push_back({n, call.guard, call.arguments});
    if (!after_run) {
        left_out.insert(n);
        call.ends = true;
        return true;
    }
    // The kernel lock was free: other cores have taken steps.
    for (const auto& object : objects.all()) {
        const bool is_state = object->storage == Storage::table || object->storage == Storage::view;
        if (!is_state || object->name == "machine" || object->name == "vmx_limits")
            continue;
        Entry e;
        e.kind = Entry::Kind::havoc;
        e.guard = call.guard;
        e.high = object->size;
        e.number = next_havoc();
        engine.world().add(*object, e);
    }
    result = Value::of(named_bits("vmx_run", 32));
    after_run(call);
    return true;
}

} // namespace horos::proofs

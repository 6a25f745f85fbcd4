// What the privileged steps and the shell's functions do, as far as the kernel's state goes.
#include "kernel.hpp"

namespace horos::proofs {

namespace {

constexpr unsigned bits_of(const llvm::Type& type) { return type.getIntegerBitWidth(); }

// Functions of the shell that change nothing the core knows of.
bool is_plain_effect(const std::string& name) {
    static const std::set<std::string> names{
        "shell_set_timer", "shell_send_reschedule", "shell_flush_tlb",     "shell_route_line",
        "shell_mask_line", "shell_port_out",        "shell_request_power", "shell_log",
        "shell_stop"};
    return names.contains(name);
}
// The same arguments, the same answer.
bool is_function(const std::string& name) {
    static const std::set<std::string> names{"shell_line_exists", "shell_message_address",
                                             "shell_power_off_supported"};
    return names.contains(name);
}

Value answer(const Call& call, const std::string& name) {
    const unsigned width = bits_of(*call.instruction->getType());
    return Value::of(named_bits(name, width));
}

} // namespace

Term function_of(const Call& call) {
    std::vector<Z3_sort> domain;
    std::vector<Term> at;
    for (const Value& v : call.arguments) {
        at.push_back(v.bits);
        domain.push_back(Z3_get_sort(context(), v.bits));
    }
    const unsigned width = bits_of(*call.instruction->getType());
    const Z3_symbol name = Z3_mk_string_symbol(context(), call.name.c_str());
    const Z3_sort range = width == 1 ? Z3_mk_bool_sort(context()) : Z3_mk_bv_sort(context(), width);
    return proofs::apply(Z3_mk_func_decl(context(), name, static_cast<unsigned>(domain.size()),
                                         domain.data(), range),
                         at);
}

bool Kernel::external(Executor& engine, const Call& call, Value& result) {
    const std::string& n = call.name;
    if (n == "asm ")
        return true; // a barrier: nothing moves in this execution
    if (n == "shell_core") {
        result = Value::of(this_core);
        return true;
    }
    if (n == "shell_now") {
        result = answer(call, one_time ? "now" : "now#" + std::to_string(++calls));
        return true;
    }
    if (is_function(n)) {
        result = Value::of(function_of(call));
        return true;
    }
    if (n == "shell_port_in") {
        result = answer(call, n + "#" + std::to_string(++calls));
        engine.events.push_back({n, call.guard, call.arguments, result.bits});
        return true;
    }
    if (n == "must_succeed") // kernel/vmx/machine.cpp: stops if not; here it goes on all the same
        return true;
    if (is_plain_effect(n)) {
        if (n != "shell_stop")
            engine.events.push_back({n, call.guard, call.arguments});
        return true;
    }
    return guest_step(engine, call, result);
}

// Steps around a guest's run.
bool Kernel::guest_step(Executor& engine, const Call& call, Value& result) {
    const std::string& n = call.name;
    // The same values in every execution: what the call does depends on its arguments, which are
    // compared as those of an event.
    const auto havoc_rows = [&](const char* table, Term row, unsigned part) {
        Entry e;
        e.kind = Entry::Kind::havoc;
        e.guard = call.guard;
        e.row = row;
        e.high = 4096;
        unsigned& number = havocs_[{calls, part}];
        if (number == 0)
            number = next_havoc();
        e.number = number;
        engine.world().add(*objects.find(table), e);
    };
    if (n == "svm_run" || n == "vmx_run")
        engine.require(call.guard, lnot(holds_lock(engine.world(), call.guard)),
                       "the kernel's lock is free while a guest runs", call.place);
    if (processor_step(engine, call, result)) // processor.cpp
        return true;
    if (n.starts_with("vmx_") && vmx_step(engine, call, result))
        return true;
    if (n == "svm_init_msr_map" || n == "vmx_init_msr_map") {
        ++calls;
        for (unsigned i = 0; i < 2; ++i) {
            const Term row = add(call.arguments[0].bits, num(32, i));
            const Term type = field("frames", "[].type", {row}, engine.world(), call.guard);
            engine.require(call.guard, eq(type, num(8, static_cast<uint64_t>(ObjectType::msr_map))),
                           "frame is an MSR map", call.place);
            engine.touched.emplace_back(objects.find("frames"), std::vector<Term>{row});
            havoc_rows("permission_maps", row, i);
        }
        engine.events.push_back({n, call.guard, call.arguments});
        return true;
    }
    if (n == "svm_set_msr" || n == "vmx_set_msr") {
        ++calls;
        for (unsigned i = 0; i < 2; ++i)
            havoc_rows("permission_maps", add(call.arguments[0].bits, num(32, i)), i);
        result = answer(call, "own_msr#" + std::to_string(calls));
        engine.events.push_back({n, call.guard, call.arguments});
        return true;
    }
    if (n == "entry_switch") { // another thread goes on; the step is over
        engine.require(call.guard, holds_lock(engine.world(), call.guard),
                       "the kernel's lock is given back where it is held", call.place);
        engine.events.push_back({n, call.guard, call.arguments});
        switches.push_back(call.guard);
        call.ends = true;
        return true;
    }
    if (n == "svm_end_vcpu") { // kernel/svm/machine.cpp
        result = Value::of(truth(true));
        return true;
    }
    if (n.starts_with("vmx_")) {
        // An invalid opcode there. What is only reached so is cut off before; a wrong turn is not.
        engine.require(call.guard, truth(false), "no VMX on a processor with SVM", call.place);
        llvm::Type* type = call.instruction->getType();
        if (type->isIntegerTy())
            result = Value::of(fresh_bits("no processor", bits_of(*type)));
        call.ends = true;
        return true;
    }
    if (n == "svm_run" || n == "shell_take_interrupt") {
        left_out.insert(n);
        call.ends = true;
        return true;
    }
    if (n == "shell_fpu_switch") { // kernel/arch/fpu.cpp
        Object* cores = objects.find("cores");
        field("cores", "[].fpu_owner", {this_core}, old);
        for (const auto& [key, leaf] : cores->leaves) {
            if (leaf->path != "[].fpu_owner")
                continue;
            Entry e;
            e.guard = call.guard;
            e.leaf = leaf.get();
            e.indices = {this_core};
            e.value = Value::of(call.arguments[0].bits);
            engine.world().add(*cores, e);
        }
        return true;
    }
    if (n.starts_with("asm ")) {
        // Registers of the processor that are no state of the core: read as anything.
        llvm::Type* type = call.instruction->getType();
        if (follows_vmcs() && host_register(engine, call, result)) // vmx_steps.cpp
            return true;
        if (n == "asm sidt $0" || n == "asm sgdt $0") { // a limit and an address
            engine.store(call.arguments[0], Value::of(fresh_bits("register", 16)), 2, call.guard,
                         call.place);
            Value base = call.arguments[0];
            base.targets[0].offset.add(2);
            engine.store(base, Value::of(fresh_bits("register", 64)), 8, call.guard, call.place);
        }
        if (type->isVoidTy())
            return true;
        if (type->isPointerTy()) { // this core's own area, of which only addresses are taken
            result = Value::to(
                objects.local(this_core_area,
                              llvm::ArrayType::get(llvm::Type::getInt8Ty(bitcode.context), 4096)));
            return true;
        }
        if (type->isIntegerTy()) {
            result = Value::of(engine.reading(n, {}, bits_of(*type), call.guard));
            return true;
        }
        std::vector<Value> parts;
        for (unsigned i = 0; i < type->getStructNumElements(); ++i)
            parts.push_back(
                Value::of(engine.reading(n + "." + std::to_string(i), {},
                                         bits_of(*type->getStructElementType(i)), call.guard)));
        result = Value::of_parts(std::move(parts));
        return true;
    }
    return false;
}

} // namespace horos::proofs

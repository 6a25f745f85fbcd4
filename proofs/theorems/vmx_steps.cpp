// What the instructions of VMX do, as far as the kernel's state goes (kernel/vmx/vmcs.S). A VMCS's
// content is no state of the core: a VMREAD gives back anything, a VMWRITE is an event; but for one
// VMCS, if a theorem follows that.
#include "vmx_fields.hpp"

namespace horos::proofs {

namespace {

// The fields that an exit stores, beside those of the guest's state (§§26.8, 27.2, 27.3).
void store_exit(Kernel& kernel, World& world, const Guard& guard) {
    using F = vmx::F;
    for (const vmx::model::FieldInfo& f : vmx::model::vmcs_fields()) {
        const auto type = horos::vmx::type(f.field);
        if (type == horos::vmx::FieldType::GUEST || type == horos::vmx::FieldType::READ_ONLY)
            vmx::set_slot(kernel, vmx::model::slot_of(f.field),
                          named_bits("exit stores " + std::string(f.name), 64), world, guard);
    }
    const auto field = [&](F f) {
        return vmx::slot_of(kernel, vmx::model::slot_of(f), world, guard);
    };
    const auto set = [&](F f, Term value) {
        vmx::set_slot(kernel, vmx::model::slot_of(f), value, world, guard);
    };
    const Term failed =
        lor(lnot(vmx::is(zext(named_bits("vmx_run", 32), 64), 0)),
            vmx::has(field(F::EXIT_REASON), horos::vmx::exit_reason::ENTRY_FAILURE));
    const Term info = field(F::ENTRY_INTERRUPTION_INFO);
    set(F::ENTRY_INTERRUPTION_INFO,
        ite(failed, info, vmx::keep(info, ~uint64_t{horos::vmx::interruption::VALID})));
    const Term entry = field(F::ENTRY_CONTROLS);
    constexpr uint64_t long_mode = horos::vmx::entry_ctl::IA32E_MODE_GUEST;
    const Term lma = vmx::has(field(F::GUEST_EFER), x86::efer::LMA);
    set(F::ENTRY_CONTROLS,
        ite(failed, entry, bor(vmx::keep(entry, ~long_mode), vmx::when(lma, long_mode))));
    vmx::set_slot(kernel, vmx::launched_slot,
                  ite(failed, vmx::slot_of(kernel, vmx::launched_slot, world, guard), num(64, 1)),
                  world, guard);
}

// A field whose encoding is a number, or one of some on conditions.
Term read(Kernel& kernel, Term encoding, const World& world, const Guard& guard) {
    if (const auto number = constant(encoding)) {
        const auto field = static_cast<vmx::F>(*number);
        return vmx::as_wide(field, vmx::slot_of(kernel, vmx::model::slot_of(field), world, guard));
    }
    const bool plain = Z3_get_ast_kind(context(), encoding) == Z3_APP_AST;
    const Z3_app app = plain ? Z3_to_app(context(), encoding) : nullptr;
    const auto part = [&](unsigned n) { return Z3_get_app_arg(context(), app, n); };
    const Z3_decl_kind kind =
        plain ? Z3_get_decl_kind(context(), Z3_get_app_decl(context(), app)) : Z3_OP_UNINTERPRETED;
    if (kind == Z3_OP_ZERO_EXT)
        return read(kernel, part(0), world, guard);
    if (kind != Z3_OP_ITE)
        throw Unsupported("a field of a VMCS that is not known");
    return ite(part(0), read(kernel, part(1), world, guard), read(kernel, part(2), world, guard));
}

} // namespace

// Registers of the host's that stay what they are.
bool Kernel::host_register(Executor& engine, const Call& call, Value& result) {
    const std::string& n = call.name;
    if (n == "asm sidt $0") {
        Value base = call.arguments[0];
        engine.store(base, Value::of(named_bits("host.idt.limit", 16)), 2, call.guard, call.place);
        base.targets[0].offset.add(2);
        engine.store(base, Value::of(vmx::host_idt_base()), 8, call.guard, call.place);
        return true;
    }
    if (n == "asm rdmsr") {
        const auto number = constant(call.arguments[0].bits);
        if (!number)
            return false;
        const Term value = vmx::host_msr(static_cast<uint32_t>(*number));
        result =
            Value::of_parts({Value::of(extract(31, 0, value)), Value::of(extract(63, 32, value))});
        return true;
    }
    if (n.find("%cr0") == std::string::npos)
        return false;
    result = Value::of_parts({Value::of(vmx::host_control(0)), Value::of(vmx::host_control(3)),
                              Value::of(vmx::host_control(4))});
    return true;
}

// What the step has to do with the VMCS that is followed: that it is this one is for the theorem to
// show.
void Kernel::follow(Executor& engine, const Call& call, Value& result) {
    World& world = engine.world();
    const Guard& guard = call.guard;
    const auto field = [&] {
        const auto number = constant(call.arguments[0].bits);
        if (!number)
            throw Unsupported("a field of a VMCS that is not known");
        return static_cast<vmx::F>(*number);
    };
    const Term current = vmx::slot_of(*this, vmx::current_slot, world, guard);
    if (call.name == "vmx_write") {
        vmx::set_slot(*this, vmx::model::slot_of(field()), call.arguments[1].bits, world, guard);
    } else if (call.name == "vmx_read") {
        result.bits = read(*this, call.arguments[0].bits, world, guard);
    } else if (call.name == "vmx_load") {
        vmx::set_slot(*this, vmx::current_slot, call.arguments[0].bits, world, guard);
    } else if (call.name == "vmx_clear") {
        const Term address = call.arguments[0].bits;
        const Term launched = vmx::slot_of(*this, vmx::launched_slot, world, guard);
        vmx::set_slot(*this, vmx::current_slot,
                      ite(eq(current, address), num(64, vmx::no_vmcs), current), world, guard);
        vmx::set_slot(*this, vmx::launched_slot, ite(eq(address, followed), num(64, 0), launched),
                      world, guard);
    }
    if (call.name == "vmx_write" || call.name == "vmx_read")
        engine.events.push_back({"vmcs access", guard, {}, current});
}

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
        if (follows_vmcs())
            follow(engine, call, result);
        return true;
    }
    if (n == "vmx_read" || n == "vmx_clear" || n == "vmx_load" || n == "vmx_invept" ||
        n == "vmx_invvpid") {
        const unsigned width = call.instruction->getType()->getIntegerBitWidth();
        result = Value::of(named_bits(n + "#" + std::to_string(++calls), width));
        if (follows_vmcs())
            follow(engine, call, result);
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
        if (!is_state || object->name == "machine" || object->name == "vmx_limits" ||
            object->name == vmx::fields_table || is_of_processor(object->name))
            continue;
        Entry e;
        e.kind = Entry::Kind::havoc;
        e.guard = call.guard;
        e.high = object->size;
        e.number = next_havoc();
        engine.world().add(*object, e);
    }
    result = Value::of(named_bits("vmx_run", 32));
    if (follows_vmcs())
        store_exit(*this, engine.world(), call.guard);
    after_run(call);
    return true;
}

} // namespace horos::proofs

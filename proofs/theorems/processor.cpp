// What a core holds while it runs, beside the tables: the kernel's lock, and XCR0, a register that
// neither an entry into a guest nor an exit switches. The entry code has taken the lock before each
// step (kernel/arch/entry.S, shell.cpp), and gives it back after it.
#include "kernel.hpp"

namespace horos::proofs {

namespace {

constexpr const char* lock_word = "kernel_lock_word";
constexpr const char* xcr0_register = "processor_xcr0";

void set(Kernel& kernel, const char* name, Term value, World& world, const Guard& guard) {
    kernel.field(name, "", {}, kernel.old); // the object's only leaf is known then
    const Object* object = kernel.objects.find(name);
    Entry e;
    e.guard = guard;
    e.leaf = object->leaves.begin()->second.get();
    e.value = Value::of(value);
    world.add(*object, e);
}

} // namespace

bool is_of_processor(const std::string& object) {
    return object == lock_word || object == xcr0_register;
}

void Kernel::declare_processor() {
    llvm::Module& module = bitcode.spec();
    if (module.getGlobalVariable(xcr0_register) == nullptr)
        new llvm::GlobalVariable(module, llvm::Type::getInt64Ty(module.getContext()), false,
                                 llvm::GlobalValue::ExternalLinkage, nullptr, xcr0_register);
    objects.fix(lock_word, "", 1);
}

Term Kernel::holds_lock(World& world, const Guard& guard) {
    return lnot(eq(field(lock_word, "", {}, world, guard), num(32, 0)));
}

Term Kernel::xcr0(World& world, const Guard& guard) {
    return field(xcr0_register, "", {}, world, guard);
}

void Kernel::set_xcr0(Term value, World& world, const Guard& guard) {
    set(*this, xcr0_register, value, world, guard);
}

Term Kernel::xcr0_is(Term expected, World& world, const Guard& guard) {
    const Term has = field("machine", ".has_xsave", {}, world, guard);
    return lor(eq(has, num(width_of(has), 0)), eq(xcr0(world, guard), expected));
}

Term Kernel::xcr0_is_host(World& world, const Guard& guard) {
    return xcr0_is(field("machine", ".xcr0", {}, world, guard), world, guard);
}

bool Kernel::processor_step(Executor& engine, const Call& call, Value& result) {
    const std::string& n = call.name;
    World& world = engine.world();
    if (n.find("lock btsl $$0, kernel_lock_word") != std::string::npos) {
        engine.require(call.guard, lnot(holds_lock(world, call.guard)),
                       "the kernel's lock is not taken twice", call.place);
        set(*this, lock_word, num(32, 1), world, call.guard);
        return true;
    }
    if (n == "asm xgetbv") { // clears the high halves of both registers
        const Term value = xcr0(world, call.guard);
        result = Value::of_parts({Value::of(zext(extract(31, 0, value), 64)),
                                  Value::of(zext(extract(63, 32, value), 64))});
        return true;
    }
    if (n == "asm xsetbv") { // takes the low halves
        const auto half = [&](size_t i) { return extract(31, 0, call.arguments.at(i).bits); };
        set_xcr0(concat(half(2), half(1)), world, call.guard);
        return true;
    }
    return false;
}

} // namespace horos::proofs

#include "simulation.hpp"
#include "kernel/core/threads.hpp"
#include "privileged.hpp"
#include "refinement.hpp"
#include "spec/events.hpp"
#include "spec/preconditions.hpp"
#include "tlb.hpp"
#include "violation.hpp"

#include <cstring>

extern "C" horos::abi::u32 kernel_lock_word;

namespace horos::core {
extern "C" u64 core_run_guest(u32 core);
}

namespace horos::test {

Simulation* simulation;

namespace {

constexpr u64 unanswered = 0xabcd'0000; // in rax while a call has set no result
constexpr u32 kernel_first = 16, kernel_count = 32;

void fill_machine(const MachineOptions& o) {
    machine = {};
    machine.xcr0 = 7;
    machine.kernel_entries[0] = 0x3000 | 0x23;
    machine.kernel_entries[1] = 0x4000 | 0x23;
    machine.kernel_tables_entry = 0x5000 | 0x23;
    machine.tsc_khz = 1'000'000;
    machine.kernel_devices[0] = 0xfee00;
    machine.kernel_devices[1] = 0xfec00;
    machine.kernel_device_count = 2;
    machine.frame_limit = machine_frames;
    machine.core_count = o.core_count;
    machine.tlb_tags = o.tlb_tags;
    machine.io_map = kernel_first;
    machine.msr_map = kernel_first + 3;
    machine.host_frames = kernel_first + 5;
    machine.has_next_rip = o.has_next_rip;
    machine.has_decode_assist = o.has_decode_assist;
    machine.has_xsave = 1;
    machine.physical_bits = 40;
    svm_limits = {0x0037'07ff, 0xd01 & ~0x1000ull, (u64{1} << 40) - 1};
}

void add_memory() {
    core_add_ram(16, 3 * frames_per_block - 16);
    core_add_ram(first_reserved + frames_per_block,
                 machine_frames - first_reserved - frames_per_block);
    core_reserve(kernel_first, kernel_count, ObjectType::kernel);
    frames[0].type = ObjectType::reserved;
}

// The specification takes these for granted; so what stands for the entry code must keep them.
void promise(bool kept, const char* entry) {
    if (!kept)
        throw Violation(std::string("entered in a state that the shell promises not to be in: ") +
                        entry);
}

// Runs a step of the specification, then the same step of the kernel.
void as_specified(u32 core, const char* name, const std::function<u64()>& specified,
                  const std::function<u64()>& real) {
    Prediction prediction;
    prediction.make_event(core, name, specified);
    u64 result = 0;
    run_guarded([&] { result = real(); });
    prediction.compare(result);
}

class Lock {
public:
    explicit Lock(u32 core) : core_(shell.core) {
        if (kernel_lock_word != 0)
            throw Violation("the kernel was entered while its lock was held");
        kernel_lock_word = 1;
        shell.core = core;
    }
    ~Lock() {
        kernel_lock_word = 0;
        shell.core = core_;
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

private:
    u32 core_;
};

} // namespace

void Simulation::boot(const MachineOptions& options) {
    simulation = this;
    reset_memory();
    reset_shell();
    reset_tlb();
    std::memset(cores, 0, sizeof cores);
    std::memset(irq_of_vector, 0, sizeof irq_of_vector);
    std::memset(results, 0, sizeof results);
    kernel_lock_word = 0;
    fill_machine(options);
    add_memory();
    std::memset(&permission_maps[machine.io_map], 0xff, 3 * frame_size);
    svm_init_msr_map(machine.msr_map);
    const Lock lock(0);
    core_init_root(root_first_frame, root);
    core_root_start(root, 0x40'0000, 0x80'0000, 7);
    for (u32 c = 0; c < options.core_count; ++c) {
        shell.core = c;
        privileged() = {};
        privileged().xcr0 = machine.xcr0;
        core_init_core(c);
        resume(c);
    }
}

Outcome Simulation::answer_of(Frame thread) {
    const Registers& r = threads[thread].regs;
    if (r.gpr[0] == unanswered)
        return {false, Error::ok, {}};
    return {true,
            static_cast<Error>(r.gpr[0]),
            {{r.gpr[2], r.gpr[7], r.gpr[6], r.gpr[8], r.gpr[9], r.gpr[10]}}};
}

Outcome Simulation::call(u32 core, Call number, const Registers6& a) {
    return call_number(core, static_cast<u64>(number), a);
}

// As entry.S chooses the core's entry.
static u64 enter_core(u32 core, u64 number, const Registers6& a) {
    Thread& self = threads[cores[core].thread];
    if (number == static_cast<u64>(Call::call))
        return core_call_fast(cores[core], core, 0, 0, a[0], a[1], a[2], a[3], a[4], self);
    if (number == static_cast<u64>(Call::reply_receive))
        return core_reply_receive_fast(cores[core], core, 0, 0, a[0], a[1], a[2], a[3], a[4], self);
    return number < hypercall_count ? hypercall_table[number](a[0], a[1], a[2], a[3], a[4], a[5])
                                    : hypercall_unknown(a[0], a[1], a[2], a[3], a[4], a[5]);
}

Outcome Simulation::call_number(u32 core, u64 number, const Registers6& a) {
    if (!is_user(core))
        throw Violation("test error: the core runs no user program");
    const Frame thread = cores[core].thread;
    threads[thread].regs.gpr[0] = unanswered;
    journal_begin();
    lock_was_free = false;
    const Lock lock(core);
    Outcome out{};
    u64 result = 0;
    Prediction prediction;
    prediction.make(core, number, a);
    run_guarded([&] { result = enter_core(core, number, a); });
    prediction.compare(result);
    if ((result & result_switch) != 0) {
        out = answer_of(thread);
        threads[thread].regs.full = 0;
    } else {
        out = {true,
               static_cast<Error>(result & result_error),
               {{result >> result_value_shift, 0, 0, 0, 0, 0}}};
        if ((result & result_values) != 0)
            out.values = results[core];
    }
    if (after_call)
        after_call(core, static_cast<Call>(number), a, out);
    shell.cores[core].mode = CoreMode::user;
    if ((result & result_direct) != 0)
        go_directly(core, static_cast<Frame>(result >> 32));
    else if ((result & result_switch) != 0)
        resume(core);
    return out;
}

// The entry code's short way to another thread: it does not ask the core.
void Simulation::go_directly(u32 core, Frame thread) {
    const Core& c = cores[core];
    if (c.thread != thread || c.space != threads[thread].space || c.reschedule != 0 ||
        threads[thread].vcpu != 0)
        throw Violation("a direct switch to a thread that the core does not run");
    shell.cores[core].mode = CoreMode::user;
}

// The entry code's way back: shell_resume.
void Simulation::resume(u32 core) {
    ShellCore& here = shell.cores[core];
    // A window or deadline takes a round each, of which there are 16 at once at most.
    for (u32 round = 0; round < 128; ++round) {
        Next next = Next::idle;
        promise(spec::pre_core_next(core), "core_next");
        as_specified(
            core, "core_next", [&] { return static_cast<u64>(spec::spec_core_next(core)); },
            [&] { return static_cast<u64>(next = core_next(core)); });
        if (next == Next::again)
            continue;
        if (next != Next::guest) {
            here.mode = next == Next::idle ? CoreMode::idle : CoreMode::user;
            return;
        }
        u64 result = 0;
        const Frame thread = cores[core].thread;
        promise(spec::pre_core_run_guest(core), "core_run_guest");
        as_specified(
            core, "core_run_guest", [&] { return spec::spec_core_run_guest(core); },
            [&] { return result = core_run_guest(core); });
        if ((result & result_switch) != 0)
            continue;
        Registers& r = threads[thread].regs;
        const Values v = (result & result_values) != 0
                             ? results[core]
                             : Values{{result >> result_value_shift, 0, 0, 0, 0, 0}};
        r.gpr[0] = result & result_error;
        r.gpr[2] = v.v[0];
        r.gpr[7] = v.v[1];
        r.gpr[6] = v.v[2];
        r.full = 0;
        here.mode = CoreMode::user;
        return;
    }
    throw Violation("a core does not find anything to run: 128 rounds of core_next");
}

void Simulation::event(u32 core, const char* name, const std::function<void()>& specified,
                       const std::function<void()>& what) {
    journal_begin();
    const Lock lock(core);
    if (is_user(core))
        threads[cores[core].thread].regs.full = 1;
    const auto nothing = [](const std::function<void()>& f) {
        return [f] {
            f();
            return u64{0};
        };
    };
    as_specified(core, name, nothing(specified), nothing(what));
    resume(core);
}

void Simulation::interrupt(u32 core, u8 vector) {
    promise(spec::pre_core_interrupt(core, vector), "core_interrupt");
    event(
        core, "core_interrupt", [=] { spec::spec_core_interrupt(core, vector); },
        [=] { core_interrupt(core, vector); });
}
void Simulation::timer(u32 core) {
    promise(spec::pre_core_timer(core), "core_timer");
    shell.cores[core].timer = no_deadline;
    event(core, "core_timer", [=] { spec::spec_core_timer(core); }, [=] { core_timer(core); });
}
void Simulation::reschedule(u32 core) {
    promise(spec::pre_core_reschedule(core), "core_reschedule");
    shell.cores[core].reschedule = false;
    event(
        core, "core_reschedule", [=] { spec::spec_core_reschedule(core); },
        [=] { core_reschedule(core); });
}
void Simulation::fault(u32 core, u64 vector, u64 error, u64 address) {
    promise(spec::pre_core_fault(core), "core_fault");
    event(
        core, "core_fault", [=] { spec::spec_core_fault(core, vector, error, address); },
        [=] { core_fault(core, vector, error, address); });
}

} // namespace horos::test

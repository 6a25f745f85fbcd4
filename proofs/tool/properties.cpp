#include "properties.hpp"

#include <algorithm>
#include <cstdio>

namespace horos::proofs {

namespace {

constexpr const char* of_one_step =
    "symbolic execution of the bitcode, all paths, loops to their end; each goal decided by Z3";
constexpr const char* any_state = "every state that satisfies the invariants, every argument, up "
                                  "to 64 cores and 2^24 frames; the "
                                  "number of instructions of the longest path is in the line";

const std::vector<Property> all{
    {"safety",
     "No undefined behaviour (indices, shifts, division, poison and unset values that are looked "
     "at, unreachable code), no access to a frame through a view of another type, and an end "
     "within the number of instructions given.",
     of_one_step, any_state, "the preconditions of spec/preconditions.cpp",
     "what comes after a VMRUN (exit/ says it of the exit itself)"},
    {"refinement",
     "Result word, values, every field of every table, and the privileged steps in their order, "
     "are those of the function of spec/.",
     "both are executed from the same state; what differs must be impossible", any_state,
     "the preconditions; that spec/ says what is meant. What a control block holds after "
     "vcpu_create and vcpu_run, and what is stored at an exit between two rounds, spec/ leaves to "
     "the backend's own function: guard/ and exit/ speak of that",
     "what comes after a VMRUN; the text of log messages"},
    {"invariants", "Every invariant of spec/ that holds before holds afterwards, at every index.",
     of_one_step, any_state, "the preconditions, and the sums of counts before the step",
     "that boot establishes them, where no line here says so"},
    {"counts",
     "Each count (references, mappings, live entries, owned memory) moves by exactly what the "
     "terms moved by whose sum it is.",
     "the rows that the step writes, one by one", any_state, "the preconditions",
     "that the sums are right at the start"},
    {"guard",
     "What a guest is entered with satisfies the model's VMRUN rules, mandatory controls and "
     "fields "
     "of the kernel's included, and is what was asked for; what is refused breaks the rule that is "
     "named.",
     "the model's own predicates, evaluated over the control block at the VMRUN",
     "every request, every state that satisfies the invariants, the processor profiles of the "
     "model that have nested paging",
     "the host's state at VMRUN, svm_init's limits, and that the processor stores at an exit only "
     "a state that it would accept",
     "CR3's high half in legacy modes"},
    {"exit",
     "After a VMRUN, whatever the processor and the guest have left in control block and shared "
     "page: no undefined behaviour, every field of the page is what the control block says, with "
     "the reason that belongs to the exit code; an event that was cut off is told or comes first "
     "in the next round.",
     "execution goes on after the VMRUN with a control block and a page that are anything",
     "one VMRUN, to the answer or to the next VMRUN",
     "that nothing else of what is looked at changes while the guest runs, but that another "
     "thread's turn has come",
     "what an interrupt does that is taken meanwhile (core_interrupt has its own theorems); which "
     "general registers the assembly stores (kernel/svm/run.S)"},
    {"isolation",
     "For every set that is closed under what the kernel follows and holds the caller: a "
     "hypercall, "
     "a fault of the running thread and its guest's run up to VMRUN "
     "change nothing outside of it, and it is closed afterwards.",
     "the set is an unknown predicate, assumed closed at every row that is looked at", any_state,
     "the preconditions", "what one domain can observe of another; time; interrupts"},
    {"pages",
     "A walk of page tables ends at nothing, at ordinary memory that is counted as mapped, or at "
     "device memory; calls give no more than their caller may.",
     "the walker of spec/translate.cpp, over the tables after the step", "walks of four levels",
     "the sums of counts; that the processor's walker writes to no table (docs/decisions/0015)",
     "stale translations in a TLB: that a flush is ordered is part of refinement"},
    {"vmx-safety",
     "On a processor with VMX: as safety/, for every way into the core that comes to kernel/vmx or "
     "maps memory, and for one entry into a guest, its exit and what is told of it.",
     of_one_step, any_state,
     "the preconditions; that while a guest runs other cores leave its virtual CPU, its control "
     "block and what this core holds",
     "what a VMCS contains: VMREAD may give back anything; other ways into the core, which are "
     "looked at on SVM alone"},
    {"vmx-invariants",
     "On a processor with VMX: every invariant of spec/ that is not about SVM's control blocks, "
     "and those of virtual CPUs on VMX, that holds before holds afterwards, at every index.",
     of_one_step, any_state, "as vmx-safety/, and the sums of counts before the step",
     "that boot establishes those of VMX (kernel/vmx/machine.cpp)"},
    {"vmx-refinement",
     "On a processor with VMX: as refinement/, for the calls that map memory, which build extended "
     "page tables there.",
     "both are executed from the same state; what differs must be impossible", any_state,
     "the preconditions; that spec/ says what is meant", "other calls"},
    {"vmx-pages",
     "On a processor with VMX: as pages/, with walks of extended page tables where the space is a "
     "guest's, for the calls that build tables.",
     "the walker of spec/translate.cpp, over the tables after the step", "walks of four levels",
     "the sums of counts, by which no table is in two spaces",
     "other calls, which are looked at on SVM alone; stale translations in a TLB"},
    {"vmx-counts",
     "On a processor with VMX: every count stays the sum of what it counts, the references to a "
     "virtual CPU's APIC-access page among them, in calls that come to kernel/vmx.",
     of_one_step, any_state, "as vmx-safety/", "calls that do not come to kernel/vmx"},
    {"vmx-guard",
     "On a processor with VMX: what vcpu_run and core_run_guest enter a guest with satisfies every "
     "VM-entry rule of the model (SDM vol. 3C chapter 26) but for what the VMM's page may say of "
     "the task priority meanwhile; mandatory controls are on; EPTP, VPID, bitmaps, MSR lists and "
     "host state are the kernel's own; all accesses are to the virtual CPU's own VMCS.",
     "the content of one VMCS as a table of fields, each VMREAD and VMWRITE, VMCLEAR and VMPTRLD",
     "any request, any state; the model's profiles that the kernel runs on",
     "as vmx-safety/; vmx_init's limits are those of a profile; the host's registers are what they "
     "were; at first the facts of proofs/theorems/vmx_facts.cpp, which new_vmcs and vmx_take_state "
     "establish and vmx-exit/ keeps",
     "host state where the kernel reads it from the processor: that it is the right one; what "
     "enclaves would do"},
    {"vmx-exit",
     "After an exit on VMX the VMM's page has what the VMCS says: the registers that a VMCS holds, "
     "of the groups that the VMM wants, the reason, qualification and instruction length, and an "
     "event that was cut off; a refused entry is told as one and injects nothing later; the "
     "kernel's own exits are not told.",
     "one entry, its exit and all of vmx_enter", "whatever the processor stores",
     "as vmx-guard/; a processor stores a state that it would enter again, an event that this "
     "state "
     "can take, and entry failures with the reasons of SDM vol. 3C section 26.8",
     "general registers, which the assembly stores (kernel/vmx/vmcs.S); DR0 to DR3, DR6 and CR2, "
     "which no VMCS holds; the details of an exit for I/O"},
    {"init",
     "Initialisation establishes the invariants and the sums of counts: its steps hold for any "
     "arguments and in any order what spec/boot.hpp says, and with the root task's first objects "
     "everything. They have no undefined behaviour.",
     of_one_step, "zeroed tables at first; steps with any arguments",
     "the facts of the machine, and that the boot functions are called in their order",
     "that what is handed over as memory is memory; that the loops over memory, which are not "
     "executed, end"},
};

} // namespace

const std::vector<Property>& properties() { return all; }

Property property_of(const std::string& group) {
    for (const Property& p : all) {
        if (p.group == group)
            return p;
    }
    return {group.c_str(), "", "", "", "", ""};
}

void Count::add(const Outcomes& o) {
    proved += o.result.verdict == Verdict::proved;
    refuted += o.result.verdict == Verdict::refuted;
    unknown += o.result.verdict == Verdict::unknown;
    seconds += o.seconds;
}

Summary::Summary(const std::vector<Outcomes>& outcomes, const Options& options)
    : core(file_hash(options.core)), spec(file_hash(options.spec)),
      image(file_hash(options.image)) {
    for (const Property& p : all)
        groups.emplace_back(p.group, Count{});
    for (const Outcomes& o : outcomes) {
        auto at = std::find_if(groups.begin(), groups.end(),
                               [&](const auto& g) { return g.first == o.group; });
        if (at == groups.end())
            at = groups.insert(groups.end(), {o.group, Count{}});
        at->second.add(o);
        total.add(o);
        cached += o.cached;
        if (slowest == nullptr || o.seconds > slowest->seconds)
            slowest = &o;
        if (largest == nullptr || o.megabytes > largest->megabytes)
            largest = &o;
    }
    std::erase_if(groups, [](const auto& g) { return g.second.all() == 0; });
}

std::string seconds_text(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", seconds);
    return text;
}

} // namespace horos::proofs

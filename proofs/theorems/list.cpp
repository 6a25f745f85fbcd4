// What there is to prove, from the definition of the interface and the list of exports.
#include "theorem.hpp"
#include <horos/abi/gen/calls.hpp>

#include <fstream>

namespace horos::proofs {

std::vector<Hypercall> hypercalls() {
    std::vector<Hypercall> all;
    for (const abi::CallInfo& c : abi::call_table)
        all.push_back({static_cast<unsigned>(c.call), c.name});
    return all;
}

std::vector<std::string> core_exports() {
    std::vector<std::string> all;
    std::ifstream in(HOROS_CORE_EXPORTS);
    if (!in)
        throw std::runtime_error("cannot read " HOROS_CORE_EXPORTS);
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line[0] != '#')
            all.push_back(line);
    }
    return all;
}

void add_export_theorems(std::vector<Theorem>& all, const Bitcode& bitcode,
                         const std::string& group, const std::string& says, const Before& before,
                         const Judge& judge,
                         const std::function<bool(const std::string&)>& wanted) {
    for (const std::string& symbol : core_exports()) {
        const llvm::Function* f = bitcode.core().getFunction(symbol);
        const std::string plain = Objects::plain_name(symbol);
        if (f == nullptr || f->isDeclaration() || symbol == "hypercall_unknown" || is_boot(plain) ||
            (wanted && !wanted(plain)))
            continue;
        all.push_back({group + "/" + plain, group, plain + " " + says,
                       [=](Bitcode& code, const Settings& settings) {
                           Step step(code, settings);
                           before(step);
                           step.run_export(*code.core().getFunction(symbol));
                           return judge(step);
                       }});
    }
}

bool is_boot(const std::string& plain) {
    static const std::set<std::string> names{
        "core_add_ram",  "core_reserve",     "core_split", "core_init_core", "core_init_root",
        "core_root_map", "core_root_start",  "init_type",  "init_whole",     "init_split",
        "init_owner",    "init_core_object", "init_root",  "init_table",     "init_leaf"};
    return names.contains(plain);
}

std::vector<std::function<std::vector<Theorem>(const Bitcode&)>> theorem_groups() {
    return {safety_theorems,  invariant_theorems,    refinement_theorems, guard_theorems,
            exit_theorems,    count_theorems,        page_theorems,       isolation_theorems,
            summary_theorems, named_effect_theorems, init_theorems,       vmx_theorems};
}

} // namespace horos::proofs

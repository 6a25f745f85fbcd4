// A way into the core that has no theorem is an error of its own: nothing else would show it.
#include "properties.hpp"
#include "report.hpp"

#include <cstdio>

namespace horos::proofs {

namespace {

// Written in spec/ by other names, or part of a hypercall that has its own theorem.
bool has_no_specification(const std::string& entry) {
    return entry == "svm_set_msr" || entry == "vmx_set_msr";
}

void come_to(const llvm::Function* f, std::set<const llvm::Function*>& seen) {
    if (f == nullptr || !seen.insert(f).second)
        return;
    for (const llvm::BasicBlock& block : *f) {
        for (const llvm::Instruction& i : block) {
            if (const auto* call = llvm::dyn_cast<llvm::CallBase>(&i))
                come_to(call->getCalledFunction(), seen);
        }
    }
}

// What kernel/vmx/ is entered by, and no theorem about a processor with VMX comes to.
std::vector<std::string> left_out_on_vmx(const Bitcode& bitcode,
                                         const std::set<std::string>& theorems) {
    const auto is_looked_at = [&](const std::string& name) {
        return theorems.contains("vmx-safety/" + name);
    };
    std::set<const llvm::Function*> seen;
    for (const Hypercall& h : hypercalls()) {
        if (is_looked_at(h.name))
            come_to(hypercall_entry(bitcode, h.number), seen);
    }
    std::vector<std::string> left;
    for (const bool asking : {false, true}) {
        for (const llvm::Function& f : bitcode.core()) {
            const std::string plain = Objects::plain_name(f.getName());
            if (f.isDeclaration())
                continue;
            if (!asking && is_looked_at(plain))
                come_to(&f, seen);
            if (asking && plain.starts_with("vmx_") && !seen.contains(&f))
                left.push_back(plain);
        }
    }
    return left;
}

} // namespace

int check_list(const Bitcode& bitcode, const Options& options) {
    std::set<std::string> theorems;
    unsigned missing = 0;
    std::set<std::string> wordless;
    for (const Theorem& t : all_theorems(bitcode, {})) {
        theorems.insert(t.name);
        if (*property_of(t.group).says == 0 && wordless.insert(t.group).second) {
            std::fprintf(stderr, "horos prove: no words for %s/ (tool/properties.cpp)\n",
                         t.group.c_str());
            ++missing;
        }
    }
    const auto want = [&](const std::string& name) {
        if (theorems.contains(name))
            return;
        std::fprintf(stderr, "horos prove: there is no theorem %s\n", name.c_str());
        ++missing;
    };
    const auto want_all = [&](const std::string& entry) {
        want("safety/" + entry);
        want("invariants/" + entry);
        want("counts/" + entry);
        want("pages/" + entry);
        if (has_no_specification(entry))
            return;
        want("refinement/" + entry);
        const llvm::Function* spec = bitcode.spec().getFunction(specification_of(entry));
        if (spec == nullptr || spec->isDeclaration()) {
            std::fprintf(stderr, "horos prove: spec/ has no %s\n", specification_of(entry).c_str());
            ++missing;
        }
    };
    for (const Hypercall& h : hypercalls()) {
        if (hypercall_entry(bitcode, h.number) == nullptr) {
            std::fprintf(stderr, "horos prove: hypercall_table has no %s\n", h.name.c_str());
            ++missing;
        }
        want_all(h.name);
        for (const std::string& part : parts_of(h.name)) {
            for (const char* group :
                 {"safety/", "invariants/", "refinement/", "counts/", "isolation/"})
                want(group + h.name + part);
        }
    }
    for (const std::string& symbol : core_exports()) {
        const llvm::Function* f = bitcode.core().getFunction(symbol);
        const std::string plain = Objects::plain_name(symbol);
        if (f != nullptr && !f->isDeclaration() && symbol != "hypercall_unknown" && !is_boot(plain))
            want_all(plain);
    }
    for (const std::string& plain : left_out_on_vmx(bitcode, theorems)) {
        std::fprintf(stderr, "horos prove: no theorem of a group vmx-... comes to %s\n",
                     plain.c_str());
        ++missing;
    }
    for (const std::string& name : read_expected(options)) {
        if (!theorems.contains(name)) {
            std::fprintf(stderr, "horos prove: %s, listed as open, is no theorem\n", name.c_str());
            ++missing;
        }
    }
    std::printf("%zu theorems, %u missing\n", theorems.size(), missing);
    return missing == 0 ? 0 : 1;
}

} // namespace horos::proofs

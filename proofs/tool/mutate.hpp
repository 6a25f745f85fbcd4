// Mechanical mutants of the kernel's bitcode: one instruction is changed at a time.
#pragma once
#include "proofs/theorems/theorem.hpp"

namespace horos::proofs {

enum class MutantKind : uint8_t {
    check_dropped,      // a branch that always goes the same way
    comparison_flipped, // < becomes >=
    off_by_one,         // a bound one too large
    wrong_mask,         // another bit
    wrong_index,        // the next row
    update_dropped,     // a store that does not happen
    wrong_amount,       // a count that moves by another number
    wrong_answer,       // another constant, as an error code
};
const char* kind_name(MutantKind kind);

struct Mutant {
    MutantKind kind;
    std::string function; // symbol
    unsigned instruction; // number in the function
    unsigned variant;     // which way, which operand
    std::string place;    // function, file:line
    std::string says;     // what is changed into what
    // Code of the vendor's backend, which spec/ calls too and says nothing of its own about: that
    // kernel and spec/ then differ would be no proof that a theorem holds the code to anything.
    bool of_backend = false;
};

// All of them, of the functions that hypercalls and events run, in the order of the code.
std::vector<Mutant> all_mutants(const Bitcode& bitcode);
// `count` of them, as evenly as can be over the source's functions and the kinds; the same ones
// every time.
std::vector<Mutant> choose_mutants(const std::vector<Mutant>& all, size_t count);
// Changes the module; false when there is no such instruction.
bool apply(const Mutant& mutant, llvm::Module& module);
// The entries (hypercalls by name, exports by plain name) from which a function can be reached.
std::set<std::string> entries_reaching(const Bitcode& bitcode, const std::string& function);
std::map<std::string, size_t> sizes_of_entries(const Bitcode& bitcode); // in instructions

} // namespace horos::proofs

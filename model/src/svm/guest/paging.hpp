// Page-table walks (APM vol. 2 rev. 3.42 chapter 5; nested: §15.25).
#pragma once

#include "guest/choices.hpp"
#include "guest/memory_view.hpp"
#include "horos/model/svm/deviation.hpp"

namespace horos::model::svm::guest {

enum class Access : uint8_t { READ, WRITE, EXECUTE };

enum class PagingMode : uint8_t { NONE, LEGACY, PAE, LONG4, LONG5 };
PagingMode paging_mode(uint64_t cr0, uint64_t cr4, uint64_t efer);

// One set of tables and the mode bits that govern it.
struct Tables {
    PagingMode mode = PagingMode::NONE;
    uint64_t root = 0; // CR3
    bool nxe = false;
    bool large_4m = false; // CR4.PSE
    bool wp = false;
    bool smep = false;
    bool smap = false; // and not overridden by RFLAGS.AC
    bool pke = false;
    uint32_t pkru = 0;
    bool page_1g = false;
    unsigned physical_bits = 52;
    bool execute_inverts_user = false; // GMET (§15.25.13)
    const Deviations* on = nullptr;    // wrong behaviours to walk with
    Deviations* seen = nullptr;        // those that made a difference

    bool deviates(Deviation d) const {
        if (on == nullptr || !on->test(d)) {
            return false;
        }
        seen->set(d);
        return true;
    }
};

struct Request {
    uint64_t address = 0;
    Access access = Access::READ;
    bool user = false;
};

struct WalkResult {
    bool ok = false;
    uint64_t address = 0; // physical, if ok
    uint64_t error = 0;   // x86::pf bits P, RSV, PK if not ok
};

// Physical address of a table entry; the guest's walk translates it through the nested tables.
class EntryResolver {
public:
    virtual ~EntryResolver() = default;
    virtual uint64_t resolve(uint64_t entry_address) = 0;
};

WalkResult walk(const Tables& tables, const Request& request, EntryResolver& entries,
                MemoryView& memory, Choices& choices);

} // namespace horos::model::svm::guest

#include "state_memory.hpp"
#include "privileged.hpp"
#include "violation.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>

extern "C" void __sanitizer_print_stack_trace();

namespace horos::test {

namespace {

struct Region {
    u8* start; // of the first page that is there
    u64 pages;
};

u8* page_of(const void* address) {
    return reinterpret_cast<u8*>(reinterpret_cast<u64>(address) & ~(frame_size - 1));
}

Region view_region() {
    return {reinterpret_cast<u8*>(&page_tables[1]), machine_frames - 1}; // frame 0 is not there
}
Region frame_region() {
    return {reinterpret_cast<u8*>(frames), machine_frames * sizeof(FrameInfo) / frame_size};
}
Region block_region() { return {page_of(blocks), 1}; }

bool contains(const Region& r, const u8* p) {
    return p >= r.start && p < r.start + r.pages * frame_size;
}

std::vector<std::unique_ptr<JournalPage>> page_pool;
std::vector<const JournalPage*> written;
sigjmp_buf* recover;
u64 wild_address;
bool sanitizer_spoke;

void fail(const char* what) {
    std::fprintf(stderr, "state memory: %s: %s\n", what, std::strerror(errno));
    std::abort();
}

void note_page(u8* page) {
    if (written.size() == page_pool.size())
        page_pool.push_back(std::make_unique<JournalPage>());
    JournalPage& entry = *page_pool[written.size()];
    entry.page = page;
    std::memcpy(entry.before, page, frame_size);
    written.push_back(&entry);
    if (mprotect(page, frame_size, PROT_READ | PROT_WRITE) != 0)
        fail("mprotect");
}

void on_fault(int signal, siginfo_t* info, void* context) {
    auto* address = static_cast<u8*>(info->si_addr);
    const bool is_write = (static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
    if (info->si_code == SEGV_ACCERR && is_write &&
        (contains(view_region(), address) || contains(frame_region(), address) ||
         contains(block_region(), address)))
        return note_page(page_of(address));
    if (emulate_privileged(static_cast<ucontext_t*>(context)))
        return;
    if (recover != nullptr) {
        wild_address = reinterpret_cast<u64>(address);
        siglongjmp(*recover, 1);
    }
    __sanitizer_print_stack_trace();
    std::signal(signal, SIG_DFL); // not the kernel's doing: die of it
}

void map_region(const Region& r) {
    void* p = mmap(r.start, r.pages * frame_size, PROT_READ,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    if (p != r.start)
        fail("mmap");
}

void map_once() {
    static bool done;
    if (done)
        return;
    done = true;
    map_region(view_region());
    map_region(frame_region());
    map_region(block_region());
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
}

void clear_region(const Region& r) {
    if (madvise(r.start, r.pages * frame_size, MADV_DONTNEED) != 0 ||
        mprotect(r.start, r.pages * frame_size, PROT_READ) != 0)
        fail("madvise");
}

const u8* before(const void* address) {
    u8* page = page_of(address);
    for (const JournalPage* entry : written) {
        if (entry->page == page)
            return entry->before + (static_cast<const u8*>(address) - page);
    }
    return static_cast<const u8*>(address);
}

} // namespace

void reset_memory() {
    map_once();
    clear_region(view_region());
    clear_region(frame_region());
    clear_region(block_region());
    written.clear();
}

void journal_begin() {
    for (const JournalPage* entry : written)
        mprotect(const_cast<u8*>(entry->page), frame_size, PROT_READ);
    written.clear();
}

const std::vector<const JournalPage*>& journal_pages() { return written; }

Frame journal_frame(const JournalPage& entry) {
    const Region r = view_region();
    return contains(r, entry.page) ? static_cast<Frame>((entry.page - r.start) / frame_size + 1)
                                   : 0;
}

FrameInfo frame_before(Frame f) {
    FrameInfo info;
    std::memcpy(&info, before(&frames[f]), sizeof info);
    return info;
}

BlockInfo block_before(Block b) {
    BlockInfo info;
    std::memcpy(&info, before(&blocks[b]), sizeof info);
    return info;
}

const u8* memory_before(Frame f) { return before(&page_tables[f]); }

void run_guarded(const std::function<void()>& code) {
    struct Restore {
        sigjmp_buf* old = recover;
        ~Restore() { recover = old; }
    } restore;
    sigjmp_buf here;
    recover = &here;
    sanitizer_spoke = false;
    if (sigsetjmp(here, 0) != 0) {
        char text[96];
        std::snprintf(text, sizeof text, "the kernel reached for absent memory at 0x%llx",
                      static_cast<unsigned long long>(wild_address));
        throw Violation(text);
    }
    code();
    if (sanitizer_spoke)
        throw Violation("a sanitizer reported an error in kernel code (see above)");
}

} // namespace horos::test

// Hooks of the sanitizer runtimes: reports do not end the process, so that they can be shrunk.
extern "C" void __ubsan_on_report() { horos::test::sanitizer_spoke = true; }
extern "C" void __asan_on_error() { horos::test::sanitizer_spoke = true; }
extern "C" const char* __asan_default_options() {
    return "halt_on_error=0:allow_user_segv_handler=1:detect_leaks=0:handle_segv=1";
}

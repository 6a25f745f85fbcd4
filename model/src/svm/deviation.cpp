#include "horos/model/svm/deviation.hpp"

#include <algorithm>
#include <iterator>

namespace horos::model::svm {

namespace {

// In the order of the enumeration.
constexpr std::string_view NAMES[] = {
    "cpl-from-ss",
    "shadow-not-loaded",
    "shadow-survives-event",
    "host-cr0-lost",
    "breakpoints-not-armed",
    "cr4-features-unchecked",
    "efer-lmsle-refused",
    "efer-ffxsr-free",
    "no-segment-checks",
    "no-code-limit",
    "stack-canonical-gp",
    "reserved-without-p",
    "pae-pdpe-lax",
    "table-limits-32",
    "canonical-per-page",
    "ss-l-stack",
    "table-bases-64",
    "pml4-global-free",
    "idt-error-times-16",
    "no-ext",
    "df-not-intercepted",
    "injected-not-in-flight",
    "shutdown-always-exits",
    "exitintinfo-first",
    "exitintinfo-type",
    "int3-is-swint",
    "error-by-vector",
    "error-code-sign-extended",
    "exitintinfo-raw",
    "exit-error-by-vector",
    "virq-cleared-late",
    "virq-at-equal-priority",
    "sti-always-shadows",
    "ss-not-present-ts",
    "cr-unchecked",
    "mov-64",
    "cr-index-after-cpl",
    "dr-checks-late",
    "dr7-armed-afterwards",
    "cr0-sel-counts-et",
    "lmsw-selective",
    "table-base-unchecked",
    "rdpmc-absent",
    "icebp-absent",
    "skinit-any-cpl",
    "msr-lax",
    "xsetbv-no-intercept",
    "invd-is-wbinvd",
    "rdtscp-is-rdtsc",
    "trap-lost",
    "iret-keeps-vif",
    "iret-vm-unchecked",
    "iret-rip-unchecked",
    "map-base-unmasked",
    "svm-in-v86",
    "msrpm-wide-rcx",
    "ltr-takes-null",
    "monitor-no-access",
    "io-busy-tss",
    "task-switch-not-intercepted",
    "near-branch-keeps-high",
    "iret-narrow-stack",
    "iret-as-supervisor",
    "lock-hlt",
    "iret-null-ss",
    "dr6-disabled-match",
    "umip-cpl-1",
    "cr2-not-loaded",
    "nested-ctl-byte",
    "next-rip-always",
    "inject-without-nrip",
    "cr0-paged-real",
    "pdpe-table-address",
    "cr3-cr8-late",
    "dr-order",
    "trap-leaks",
    "exitintinfo-stale",
    "host-if-ignored",
    "cpl-raw",
    "segment-kinds",
    "rflags-one-lost",
    "injected-nmi-blocks",
    "nmi-rip-uncommitted",
    "rsm-ud",
    "ext-of-injected",
    "vtpr-byte",
    "error-code-16",
    "real-cs-data",
    "shadow-lost",
    "lma-computed",
    "efer-tce-refused",
    "df-no-intinfo",
    "virq-masked",
    "db-commit-late",
    "iret-top-down",
    "iret-short",
    "real-types",
    "cr3-wide",
    "alignment-unchecked",
    "tss-type-abort",
    "tss-absent-abort",
    "v86-exit-panic",
    "long-mode-pe-panic",
    "shutdown-panic",
    "tss-type-panic",
    "tss-absent-panic",
    "stack-assert",
    "skinit-panic",
    "table-crash",
};
static_assert(std::size(NAMES) == DEVIATION_COUNT);

} // namespace

std::string_view deviation_name(Deviation d) { return NAMES[static_cast<size_t>(d)]; }

std::optional<Deviation> find_deviation(std::string_view name) {
    const auto* const at = std::find(std::begin(NAMES), std::end(NAMES), name);
    if (at == std::end(NAMES)) {
        return std::nullopt;
    }
    return static_cast<Deviation>(at - std::begin(NAMES));
}

} // namespace horos::model::svm

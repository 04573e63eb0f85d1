/* A plugin for qemu's user mode: how often every block of instructions runs, by section. A section
 * ends at each write to standard output, so the program's lines say what the sections are.
 *
 * counts.so,out=FILE writes: "block NUMBER ADDRESS BYTES-IN-HEX", one instruction after the other
 * with spaces between, before a block's first count; "count NUMBER TIMES"; "end" of a section.
 *
 * Counters are added to without a lock: exact for one busy thread. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* qemu-plugin.h, version 1, which Debian's package has not. */
typedef uint64_t Id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(Id, void (*)(Id, unsigned, int64_t, uint64_t, uint64_t,
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;
struct info {
    const char *target;
};

struct block {
    uint64_t count, told;
    char *text; /* NULL once written */
    struct block *next;
};

static struct block *first, **last = &first;
static FILE *out;
static int64_t write_call;

static void translated(Id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb), at = 0;
    struct block *block = calloc(1, sizeof *block);
    char *text = block ? malloc(32 + n * 32) : NULL;
    if (!text)
        abort();
    at += sprintf(text, "%" PRIx64, qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)));
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const unsigned char *bytes = qemu_plugin_insn_data(insn);
        text[at++] = ' ';
        for (size_t b = 0; b < qemu_plugin_insn_size(insn); b++)
            at += sprintf(text + at, "%02x", bytes[b]);
    }
    block->text = text;
    *last = block;
    last = &block->next;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->count, 1);
}

static void called(Id id, unsigned cpu, int64_t number, uint64_t file, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != write_call || file != 1)
        return;
    size_t i = 0;
    for (struct block *block = first; block; block = block->next, i++) {
        if (block->count == block->told)
            continue;
        if (block->text) {
            fprintf(out, "block %zu %s\n", i, block->text);
            free(block->text);
            block->text = NULL;
        }
        fprintf(out, "count %zu %" PRIu64 "\n", i, block->count - block->told);
        block->told = block->count;
    }
    fputs("end\n", out);
    fflush(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const struct info *info,
                                                               int argc, char **argv)
{
    write_call = info->target[0] == 'x' ? 1 : 64; /* x86_64, aarch64 */
    out = argc == 1 && !strncmp(argv[0], "out=", 4) ? fopen(argv[0] + 4, "w") : NULL;
    if (!out)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}

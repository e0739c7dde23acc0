// The machine code that Homing maps into the processes it works on. It is
// position independent, uses no stack and no data but what its registers
// point to.
//
// batch: executes a table of system calls for a tracer, then traps.
//   r12 = next entry (7 words: number, 6 arguments; the result replaces the
//         number), r13 = entries left. Stops early at the first error.
// loop: the resident loop of a shadow thread.
//   rbx = its slot (layout in stub.go).

	.text
	.globl homing_stub_start, homing_stub_end
	.globl homing_stub_batch, homing_stub_trap, homing_stub_loop
	.globl homing_stub_begin, homing_stub_call, homing_stub_called, homing_stub_said
	.p2align 4
homing_stub_start:

homing_stub_batch:
	test %r13, %r13
	jz   homing_stub_trap
	mov  (%r12), %rax
	mov  8(%r12), %rdi
	mov  16(%r12), %rsi
	mov  24(%r12), %rdx
	mov  32(%r12), %r10
	mov  40(%r12), %r8
	mov  48(%r12), %r9
	syscall
	mov  %rax, (%r12)
	cmp  $-4096, %rax
	ja   homing_stub_trap
	add  $56, %r12
	dec  %r13
	jmp  homing_stub_batch
homing_stub_trap:
	int3
	jmp  homing_stub_batch

	.p2align 4
homing_stub_loop:
	mov  8(%rbx), %ecx          // how often to look before sleeping
1:	mov  (%rbx), %edx           // state
	cmp  $1, %edx               // requested?
	je   homing_stub_begin
	test %ecx, %ecx
	jz   3f
	dec  %ecx
	pause
	jmp  1b
3:	lock incl 4(%rbx)           // sleepers: tells home that a wake-up is needed
	mov  $202, %eax             // futex
	mov  %rbx, %rdi
	xor  %esi, %esi             // FUTEX_WAIT, shared
	xor  %r10d, %r10d
	syscall
	lock decl 4(%rbx)
	jmp  homing_stub_loop

homing_stub_begin:
	mov  80(%rbx), %r14         // slot of the child, if this is a clone
	mov  16(%rbx), %rax
	mov  24(%rbx), %rdi
	mov  32(%rbx), %rsi
	mov  40(%rbx), %rdx
	mov  48(%rbx), %r10
	mov  56(%rbx), %r8
	mov  64(%rbx), %r9
homing_stub_call:
	syscall
homing_stub_called:
	test %r14, %r14
	jz   4f
	test %rax, %rax
	jnz  4f
	mov  %r14, %rbx             // we are the child
	jmp  homing_stub_loop
4:	mov  %rax, 72(%rbx)
	mov  $2, %eax               // done
	xchg %eax, (%rbx)
homing_stub_said:
	cmpl $0, 12(%rbx)           // does home sleep on the state?
	je   homing_stub_loop
	mov  $202, %eax
	mov  %rbx, %rdi
	mov  $1, %esi               // FUTEX_WAKE, shared
	mov  $1, %edx
	syscall
	jmp  homing_stub_loop

homing_stub_end:
	.section .note.GNU-stack,"",@progbits

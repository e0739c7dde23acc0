#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <errno.h>
#include <string.h>
static void h(int s){}
static volatile int stop;
static void *storm(void*a){ while(!stop){ kill(getpid(),SIGUSR1); } return 0; }
int main(int c,char**v){
  int mode=atoi(v[1]), n=atoi(v[2]); int bad=0;
  struct sigaction sa={.sa_handler=h,.sa_flags=mode&4?0:SA_RESTART}; sigaction(SIGUSR1,&sa,0);
  pthread_t t; 
  if(!(mode&8)) pthread_create(&t,0,storm,0);
  for(int i=0;i<n;i++){
    pid_t p = (mode&1)? vfork(): fork();
    if(!p){ if(mode&2) execl("/bin/sh","sh","-c","exit 3",NULL); _exit(3);}
    if(p<0){ printf("i %d fork %d errno %d\n",i,p,errno); bad++; continue; }
    int st=0x7777,w; while((w=waitpid(p,&st,0))<0&&errno==EINTR);
    if(w!=p||st!=0x300){ printf("i %d w %d p %d st %x errno %d\n",i,w,p,st,w<0?errno:0); bad++; }
  }
  stop=1; if(!(mode&8)) pthread_join(t,0);
  printf("bad %d\n",bad); return bad!=0;
}
